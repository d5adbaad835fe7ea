"""Rules that turn the clients' updates into one: plain functions ``(updates, weights) -> update``.

Updates are ``(C, P)`` float64 with one row per client in client order, weights ``(C,)`` positive,
the result is ``(P,)``. Updates of angles are differences in (-π, π], so that averages, medians
and distances of them mean what they say. Where clients train only some of the parameters, weights
are ``(C, P)``, 0 for the others, which only the mean can do with.

A user's own rule is any function of this form, named in the config by its import path.
"""

import logging
import math

import torch
from torch import Tensor

from qmoe_fed.errors import UserError
from qmoe_fed.federated.rules import TooFewClients

logger = logging.getLogger(__name__)


def mean(updates: Tensor, weights: Tensor) -> Tensor:
    """Return the weighted mean of the rows (FedAvg; McMahan et al., 2017).

    With weights ``(C, P)``, of each coordinate over those who trained it; 0 if nobody did.
    """
    if weights.dim() == 1:
        return (weights.unsqueeze(1) * updates).sum(0) / weights.sum()
    total = weights.sum(0)
    return (weights * updates).sum(0) / total.where(total > 0, torch.ones_like(total))


def median(updates: Tensor, weights: Tensor) -> Tensor:
    """Return the median of each coordinate, the mean of the middle two if C is even.

    Weights are not used (Yin et al., "Byzantine-robust distributed learning", 2018, Def. 1).
    """
    _refuse_weights_of_coordinates(weights, "median")
    ordered, middle = updates.sort(dim=0).values, len(updates) // 2
    return (ordered[middle] + ordered[-middle - 1]) / 2


def trimmed_mean(updates: Tensor, weights: Tensor, *, trim_fraction: float) -> Tensor:
    """Return the mean of each coordinate without its smallest and largest values.

    ⌊trim_fraction · C⌋ values go at either end, trim_fraction in [0, 0.5), so that few clients may
    mean that none goes: 0.1 needs 10 clients to resist one of them. That is logged. Weights are not
    used (Yin et al., 2018, Def. 2).
    """
    _refuse_weights_of_coordinates(weights, "trimmed-mean")
    count = len(updates)
    # 0.29 · 100 is 28.999999999999996 in floating point.
    trimmed = math.floor(trim_fraction * count + 1e-9)
    if trim_fraction > 0 and trimmed == 0:
        message = "trimmed-mean with trim-fraction %g leaves out none of %d clients"
        logger.warning(message, trim_fraction, count)
    return updates.sort(dim=0).values[trimmed : count - trimmed].mean(0)


def krum(updates: Tensor, weights: Tensor, *, num_byzantine: int) -> Tensor:
    """Return the update whose C - f - 2 nearest others are closest to it in sum of squares.

    f = num_byzantine is how many of the clients may be adversaries. Weights are not used; of equal
    scores the lowest client id wins (Blanchard et al., "Machine learning with adversaries", 2017,
    Section 4). Distances are taken without the expansion |x|² + |y|² - 2xy, which cancels.
    TooFewClients if C < 2f + 3.
    """
    _refuse_weights_of_coordinates(weights, "krum")
    count, needed = len(updates), 2 * num_byzantine + 3
    if count < needed:
        raise TooFewClients(
            f"krum with num-byzantine = {num_byzantine} needs at least {needed} clients in a "
            f"round, there are {count}"
        )
    exact = "donot_use_mm_for_euclid_dist"
    distances = torch.cdist(updates, updates, compute_mode=exact).square()
    nearest = distances.sort(dim=1).values[:, 1 : count - num_byzantine - 1]
    return updates[nearest.sum(1).argmin()]


def _refuse_weights_of_coordinates(weights: Tensor, name: str) -> None:
    if weights.dim() > 1:
        raise UserError(
            f"aggregator = {name!r} needs clients that all train the same parameters; "
            "use aggregator = 'mean'"
        )
