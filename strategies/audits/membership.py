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

from qmoe_fed import rng
from qmoe_fed.config import Config
from qmoe_fed.data import Samples, shape_of
from qmoe_fed.federated.build import make_rules
from qmoe_fed.federated.mechanism import protect
from qmoe_fed.federated.model import Model
from qmoe_fed.federated.rules import StepState, close_round, open_round
from qmoe_fed.federated.updates import Cohort
from qmoe_fed.learning import train
from qmoe_fed.models import wrap
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
        # the last so that worlds which are all the same tell nothing
        least = 1e-6 * np.trace(covariance) / len(covariance) + 1e-30
        covariance += least * np.eye(len(covariance))
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


def client_membership(
    config: Config, targets: int, worlds: int, rounds: int = 1
) -> list[Separation]:
    """Return how well the releases up to each round tell whether a client took part in them.

    The attacker knows the client's samples but not its experts, and the distribution of the other
    clients. Without the target another client is in its place. Rounds are judged one by one, by how
    each changes the shared parameters, and their log likelihood ratios added.

    Args:
        config: The run; all clients in every round.
        targets: Number of clients asked about.
        worlds: Federations with, and so many without each target.
        rounds: That are seen.
    """
    count, pool, found = config.federation.num_clients, 2000, []
    world = crowd(config, pool + targets)
    everybody = samples_of(world, range(pool + targets))
    draws = rng.generator(config.federation.seed, "lira")
    for target in range(targets):
        taken = np.stack([draws.choice(pool, count, replace=False) for _ in range(2 * worlds)])
        taken[worlds:, 0] = pool + target
        samples = everybody.select(torch.from_numpy(taken.ravel()))
        seen = changes(config, samples, 2 * worlds, rounds, target)
        found.append([likelihood_ratios(one[:worlds], one[worlds:]) for one in seen])
    # (targets, rounds, without and with, worlds) → (rounds, without and with, targets · worlds)
    scores = np.cumsum(np.array(found), 1).transpose(1, 2, 0, 3).reshape(rounds, 2, -1)
    return [separation(*up_to) for up_to in scores]


def changes(
    config: Config, samples: Samples, worlds: int, rounds: int, stream: int = 0
) -> list[Array]:
    """Return how each round changes the shared parameters of many federations, ``(n, P)`` each.

    All is as in the run, but that every federation has a seed of its own for noise, another for
    each ``stream``, and that clients' own parameters start as those of clients with other ids do.
    ``samples`` are of all clients, world by world, all of whom train in all rounds.
    """
    model, count = Model(config), config.federation.num_clients
    ids, layout, task = range(worlds * count), model.layout, model.task(model.names)
    keys = rng.generator(config.federation.seed, "worlds", stream).integers(2**62, size=worlds)
    first = make_rules(config)
    rules = [replace(first, seed=int(k), mechanisms=deepcopy(first.mechanisms)) for k in keys]
    local = model.initial(model.local, ids)
    steps: list[StepState | None] = [None] * worlds
    shared = layout.flat(model.initial_shared()).repeat(worlds, 1)
    ones, found = torch.ones(count).double(), []
    for number in range(1, rounds + 1):
        start = layout.parameters(shared.repeat_interleave(count, 0))
        trained = train(task, model.replicas({}, {**local, **start}, ids), samples, ids, number)
        local = {name: trained.parameters[name] for name in model.local}
        updates = layout.flat(trained.parameters, len(ids)) - layout.flat(start, len(ids))
        updates = torch.where(layout.is_angle, wrap(updates), updates)
        updates = protect(first.mechanisms, updates, ids, number, config.federation.seed)
        before, moved = shared, updates.float().double().view(worlds, count, -1)
        shared = before.clone()
        for row, own in enumerate(rules):
            open_round(own, number)
            cohort, past = Cohort(tuple(range(count)), moved[row], ones, ones), steps[row]
            end = close_round(own, number, count, cohort, (), layout, before[row], past)
            steps[row] = end.step
            shared[row] = before[row] if end.values is None else end.values
        found.append(torch.where(layout.is_angle, wrap(shared - before), shared - before).numpy())
    return found
