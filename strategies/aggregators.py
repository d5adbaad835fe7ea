"""Rules that turn the clients' updates into one: plain functions ``(updates, weights) -> update``.

Updates are ``(C, P)`` float64 with one row per client in client order, weights ``(C,)`` positive,
the result is ``(P,)``. Updates of angles are differences in (-π, π], so that averages, medians
and distances of them mean what they say.

A user's own rule is any function of this form, named in the config by its import path.
"""

import logging
import math
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from qmoe_fed.config import StrategyConfig
from qmoe_fed.config.plugins import load_object
from qmoe_fed.errors import UserError

Aggregator = Callable[[Tensor, Tensor], Tensor]

logger = logging.getLogger(__name__)


class TooFewClients(Exception):
    """An aggregator cannot do with so few clients; the round does not count."""


def mean(updates: Tensor, weights: Tensor) -> Tensor:
    """Return the weighted mean of the rows (FedAvg; McMahan et al., 2017)."""
    return (weights.unsqueeze(1) * updates).sum(0) / weights.sum()


def median(updates: Tensor, weights: Tensor) -> Tensor:
    """Return the median of each coordinate, the mean of the middle two if C is even.

    Weights are not used (Yin et al., "Byzantine-robust distributed learning", 2018, Def. 1).
    """
    ordered, middle = updates.sort(dim=0).values, len(updates) // 2
    return (ordered[middle] + ordered[-middle - 1]) / 2


def trimmed_mean(updates: Tensor, weights: Tensor, *, trim_fraction: float) -> Tensor:
    """Return the mean of each coordinate without its smallest and largest values.

    ⌊trim_fraction · C⌋ values go at either end, so that few clients may mean that none goes: 0.1
    needs 10 clients to resist one of them. That is logged. Weights are not used (Yin et al.,
    2018, Def. 2).

    Args:
        updates: Shape ``(C, P)``.
        weights: Shape ``(C,)``.
        trim_fraction: Share of the clients to leave out per side, in [0, 0.5).
    """
    count = len(updates)
    # 0.29 · 100 is 28.999999999999996 in floating point.
    trimmed = math.floor(trim_fraction * count + 1e-9)
    if trim_fraction > 0 and trimmed == 0:
        logger.warning(
            "trimmed-mean with trim-fraction %g leaves out none of %d clients",
            trim_fraction,
            count,
        )
    return updates.sort(dim=0).values[trimmed : count - trimmed].mean(0)


def krum(updates: Tensor, weights: Tensor, *, num_byzantine: int) -> Tensor:
    """Return the update whose C - f - 2 nearest others are closest to it in sum of squares.

    Weights are not used; of equal scores the lowest client id wins (Blanchard et al., "Machine
    learning with adversaries", 2017, Section 4). Distances are taken between updates and without
    the expansion |x|² + |y|² - 2xy, which cancels.

    Args:
        updates: Shape ``(C, P)``.
        weights: Shape ``(C,)``.
        num_byzantine: f, how many of the clients may be adversaries.

    Raises:
        TooFewClients: C < 2f + 3.
    """
    count = len(updates)
    if count < 2 * num_byzantine + 3:
        raise TooFewClients(_krum_needs(num_byzantine, count))
    exact = "donot_use_mm_for_euclid_dist"
    distances = torch.cdist(updates, updates, compute_mode=exact).square()
    nearest = distances.sort(dim=1).values[:, 1 : count - num_byzantine - 1]
    return updates[nearest.sum(1).argmin()]


def _krum_needs(num_byzantine: int, count: int) -> str:
    return (
        f"krum with num-byzantine = {num_byzantine} needs at least {2 * num_byzantine + 3} "
        f"clients in a round, there are {count}"
    )


def make_aggregator(settings: StrategyConfig, cohort_size: int) -> Aggregator:
    """Return the aggregator a config names.

    Args:
        settings: The strategy's settings.
        cohort_size: The most clients that can be in a round.

    Raises:
        UserError: Rounds are too small for it, it has no use for weights, or it cannot be loaded.
    """
    name = settings.aggregator
    if ":" in name:
        rule: Aggregator = load_object(name, "aggregator")
        return rule
    if name != "mean" and settings.weighting != "uniform":
        raise UserError(
            f"weighting = {settings.weighting!r}: {name} does not use weights; "
            "set weighting = 'uniform' or aggregator = 'mean'"
        )
    if name == "krum" and cohort_size < 2 * settings.num_byzantine + 3:
        raise UserError(f"aggregator = 'krum': {_krum_needs(settings.num_byzantine, cohort_size)}")
    rules: dict[str, Aggregator] = {
        "mean": mean,
        "median": median,
        "trimmed-mean": partial(trimmed_mean, trim_fraction=settings.trim_fraction),
        "krum": partial(krum, num_byzantine=settings.num_byzantine),
    }
    return rules[name]
