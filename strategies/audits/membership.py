"""Membership: did a sample train a client, did a client take part? LiRA with shadow federations.

Carlini et al., "Membership inference attacks from first principles", 2022: the attacker makes
thousands of worlds with and without the target, describes what is seen in either by a normal
distribution, and scores what it sees by the ratio of the likelihoods.
"""

from copy import deepcopy
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.metrics import roc_auc_score
from torch import Tensor

from qmoe_fed import rng
from qmoe_fed.config import Config
from qmoe_fed.data import Samples, shape_of
from qmoe_fed.federated.build import make_rules
from qmoe_fed.federated.model import Model
from qmoe_fed.federated.rules import close_round, open_round
from qmoe_fed.federated.updates import Cohort
from strategies.audits.views import crowd, samples_of, sent_by

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Separation:
    """How well scores tell worlds with a target from those without; 0.5, 0.01, 0.001 by chance."""

    auc: float
    tpr_at_1: float  # true positive rate at 1% false positives
    tpr_at_01: float  # at 0.1%


def separation(absent: ArrayLike, present: ArrayLike) -> Separation:
    """Return how well scores ``(n,)`` of worlds without and with a target are told apart."""
    without, with_it = np.asarray(absent, np.float64), np.asarray(present, np.float64)
    truth = np.repeat([0, 1], [len(without), len(with_it)])
    auc = float(roc_auc_score(truth, np.concatenate([without, with_it])))
    limits = (np.quantile(without, 1 - rate, method="higher") for rate in (0.01, 0.001))
    first, second = (float((with_it > limit).mean()) for limit in limits)
    return Separation(auc, first, second)


def likelihood_ratios(absent: Array, present: Array) -> tuple[Array, Array]:
    """Return the log likelihood ratio of worlds without and with a target, ``(n,)`` each.

    What is seen of a world is a row, ``(n, F)``. Two normal distributions of one covariance are
    fitted to one half of the worlds and score the other, and the other way round.
    """

    def scored(own: slice, other: slice) -> list[Array]:
        fitted = absent[other], present[other]
        means = [rows.mean(0) for rows in fitted]
        centred = np.concatenate([rows - mean for rows, mean in zip(fitted, means, strict=True)])
        covariance = centred.T @ centred / len(centred)
        covariance += 1e-6 * np.trace(covariance) / len(covariance) * np.eye(len(covariance))
        slope = np.linalg.solve(covariance, means[1] - means[0])
        return [(rows[own] - (means[0] + means[1]) / 2) @ slope for rows in (absent, present)]

    even, odd = slice(None, None, 2), slice(1, None, 2)
    first, second = zip(scored(even, odd), scored(odd, even), strict=True)
    return np.concatenate(first), np.concatenate(second)


def sample_membership(
    config: Config, targets: int, worlds: int, mislabelled: bool = True
) -> Separation:
    """Return how well one update tells whether a sample was in a client's training data.

    The attacker knows the sample, the distribution of the others and what the server sent, but
    neither the client's other samples nor its experts.

    Args:
        config: The run; what a client sends in its first round is seen.
        targets: Number of samples asked about.
        worlds: Clients with other samples, with and without each target, so many in all.
        mislabelled: Whether targets bear a wrong label: samples that stand out.
    """
    world, classes = crowd(config, worlds + targets), shape_of(config).classes
    shadows = samples_of(world, range(worlds))
    wanted, half, found = samples_of(world, range(worlds, worlds + targets)), worlds // 2, []
    plain = sent_by(world, shadows.select(slice(half)), range(half)).numpy()
    for row in range(targets):
        x, y = shadows.x[half:].clone(), shadows.y[half:].clone()
        x[:, 0], y[:, 0] = wanted.x[row, 0], (wanted.y[row, 0] + mislabelled) % classes
        with_it = Samples(x, y, shadows.counts[half:])
        found.append(likelihood_ratios(plain, sent_by(world, with_it, range(half, worlds)).numpy()))
    return separation(*(np.concatenate(scores) for scores in zip(*found, strict=True)))


def client_membership(config: Config, targets: int, worlds: int) -> Separation:
    """Return how well the first round's release tells whether a client took part.

    The attacker knows the client's samples but not its experts, and the distribution of the other
    clients. Without the target another client is in its place.

    Args:
        config: The run; all clients in every round.
        targets: Number of clients asked about.
        worlds: Federations with, and so many without each target.
    """
    count, pool = config.federation.num_clients, 2000
    world = crowd(config, pool + targets)
    others = sent_by(world, samples_of(world, range(pool)), range(pool))
    rows = range(pool, pool + targets)
    wanted, draws, found = (
        samples_of(world, rows),
        rng.generator(config.federation.seed, "lira"),
        [],
    )
    for row in range(targets):
        one = wanted.select(torch.full((worlds,), row))
        own = sent_by(world, one, range(pool + targets, pool + targets + worlds))
        taken = [draws.choice(pool, count, replace=False) for _ in range(2 * worlds)]
        without = [others[ids] for ids in taken[:worlds]]
        pairs = zip(own, taken[worlds:], strict=True)
        with_it = [torch.cat([mine[None], others[ids[1:]]]) for mine, ids in pairs]
        seen = releases(config, [*without, *with_it], row)
        found.append(likelihood_ratios(seen[:worlds], seen[worlds:]))
    return separation(*(np.concatenate(scores) for scores in zip(*found, strict=True)))


def releases(config: Config, worlds: list[Tensor], target: int = 0) -> Array:
    """Return what a server makes of the updates ``(C, P)`` of each world in a round, ``(n, P)``.

    Server halves of mechanisms, the aggregator and the server step are those of the run, with a
    seed of its own for each world.
    """
    layout, ones = Model(config).layout, torch.ones(config.federation.num_clients).double()
    keys = rng.generator(config.federation.seed, "worlds", target).integers(2**62, size=len(worlds))
    rules, shared, out = make_rules(config), torch.zeros(layout.size).double(), []
    for key, updates in zip(keys, worlds, strict=True):
        own = replace(rules, seed=int(key), mechanisms=deepcopy(rules.mechanisms))
        sampled = open_round(own, 1)
        cohort = Cohort(tuple(range(len(ones))), updates, ones, ones)
        values = close_round(own, 1, len(sampled), cohort, (), layout, shared, None).values
        out.append(shared if values is None else values)
    return torch.stack(out).numpy()
