"""One round on the server, as a chain of small steps on plain tensors.

    sample → train → gate → mechanisms → aggregate → server step

Everything after the gate sees one row per client, in ascending client id, float64, whatever the
order in which hosts answered; the same updates always give the same bits.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from qmoe_fed import rng
from qmoe_fed.config.plugins import AGGREGATORS, SERVER_STEPS, load_object
from qmoe_fed.errors import UserError, unknown
from qmoe_fed.federated.mechanism import Mechanism, on_server
from qmoe_fed.federated.updates import Cohort, Layout, Limits, Rejection, check_rows
from qmoe_fed.models import wrap

Aggregator = Callable[[Tensor, Tensor], Tensor]
"""Turns updates ``(C, P)`` and weights into one update ``(P,)``.

Weights are ``(C,)``, or ``(C, P)`` where not all clients train all parameters.
"""

StepState = dict[str, Tensor]

Metrics = dict[str, int | float | list[int]]


class TooFewClients(Exception):
    """An aggregator cannot do with so few clients; the round does not count."""


class ServerStep(Protocol):
    """A rule that turns aggregates into steps; its state is explicit and never changed in place."""

    def init(self, size: int) -> StepState:
        """Return the state before the first round, for ``size`` parameters."""

    def apply(self, state: StepState, aggregate: Tensor) -> tuple[Tensor, StepState]:
        """Return the step to add to the parameters, ``(P,)``, and the next state."""


@dataclass(frozen=True)
class Rules:
    """How a server chooses clients and what it does with their updates.

    By default the aggregate is the mean, and the step the aggregate itself. Where ``trained_by``
    says which of the numbers some clients train, ``(C, P)``, weights are 0 elsewhere.
    """

    num_clients: int  # clients 0 … num_clients - 1 train
    aggregator: Aggregator = field(
        default_factory=lambda: load_object(AGGREGATORS["mean"], "aggregator")
    )
    server_step: ServerStep = field(
        default_factory=lambda: load_object(SERVER_STEPS["plain"], "server step")()
    )
    seed: int = 0  # of sampling and noise
    fraction_train: float = 1.0  # of the clients in a round, in (0, 1]
    sampling: str = "fixed"  # or "poisson", see ``sample_clients``
    limits: Limits = Limits()  # noqa: RUF009 frozen
    quorum: float = 0.5  # share of the sampled clients whose rows count, for the round to count
    weighting: str = "uniform"  # or "examples": by the number of training samples
    mechanisms: Sequence[Mechanism] = ()  # their server halves run here
    trained_by: Callable[[Sequence[int]], Tensor] | None = None


@dataclass(frozen=True)
class Outcome:
    """What a round came to; the step's state is as it was if the round does not count."""

    values: Tensor | None  # the next shared parameters, (P,) float64, if the round counts
    step: StepState | None
    metrics: Metrics
    rejections: list[Rejection]  # by client, ascending
    fault: str = ""  # why the round does not count


def open_round(rules: Rules, server_round: int) -> list[int]:
    """Return who trains in a round; PrivacyBudgetExhausted if a mechanism ends the run here."""
    for mechanism in rules.mechanisms:
        mechanism.before_round(server_round)
    fraction, sampling = rules.fraction_train, rules.sampling
    return sample_clients(rules.num_clients, fraction, sampling, rules.seed, server_round)


def close_round(
    rules: Rules,
    server_round: int,
    sampled: int,
    cohort: Cohort,
    unread: Sequence[Rejection],
    layout: Layout,
    shared: Tensor,
    step: StepState | None,
) -> Outcome:
    """Bring a round to its end: gate, mechanisms, aggregator, server step.

    A round in which too few clients are left does not count. UserError if the aggregator or a
    mechanism returns what is not an update.

    Args:
        sampled: How many clients were asked to train.
        cohort: The updates that came back, as they came.
        unread: Clients whose updates could not be read.
        shared: The shared parameters that were sent out, ``(P,)`` float64.
        step: The state of the server step; None before the first round.
    """
    cohort, outside = check_rows(cohort, rules.limits)
    updates = torch.where(layout.is_angle, wrap(cohort.updates), cohort.updates)
    weights = (cohort.weights > 0).double() if rules.weighting == "uniform" else cohort.weights
    if rules.trained_by:
        weights = weights.unsqueeze(1) * rules.trained_by(cohort.clients)
    cohort = replace(cohort, updates=updates, weights=weights)
    fault, values, accepted = "", None, len(cohort.clients)
    try:
        _check_quorum(rules, accepted, sampled)
        aggregate = _aggregate(rules, server_round, cohort, layout.size)
        before = rules.server_step.init(layout.size) if step is None else step
        change, step = rules.server_step.apply(before, aggregate)
        values = torch.where(layout.is_angle, wrap(shared + change), shared + change)
    except TooFewClients as reason:
        fault = str(reason)
    rejections = sorted([*unread, *outside], key=lambda one: one.client)
    # a host may have named a client of another host, which then is not left out
    left_out = {one.client for one in rejections} - set(cohort.clients)
    metrics: Metrics = {
        "clients-sampled": sampled,
        "clients-accepted": accepted,
        "clients-rejected": sorted(left_out),
        "round-counted": int(values is not None),
    }
    if accepted and all(mechanism.tells_loss for mechanism in rules.mechanisms):
        metrics["train-loss"] = cohort.losses.mean().item()
    for mechanism in rules.mechanisms:
        metrics.update(mechanism.metrics())
    return Outcome(values, step, metrics, rejections, fault)


def _check_quorum(rules: Rules, accepted: int, sampled: int) -> None:
    needed = math.ceil(rules.quorum * sampled - 1e-9)
    if not any(mechanism.releases_empty_round for mechanism in rules.mechanisms):
        needed = max(1, needed)
    if accepted < needed:
        raise TooFewClients(f"{accepted} clients accepted, quorum is {needed}")


def _aggregate(rules: Rules, server_round: int, cohort: Cohort, size: int) -> Tensor:
    """Return the aggregated update ``(P,)``."""

    def rest(cohort: Cohort) -> Tensor:
        return rules.aggregator(cohort.updates, cohort.weights)

    update = on_server(rules.mechanisms, cohort, rest, server_round, rules.seed)
    if not (isinstance(update, Tensor) and update.shape == (size,) and update.isfinite().all()):
        raise UserError(
            f"round {server_round}: aggregator {rules.aggregator} or a mechanism returned "
            f"{update!r}; expected a tensor of {size} finite numbers"
        )
    return update


def sample_size(num_clients: int, fraction: float) -> int:
    """Return how many clients a fixed-size sample has: the nearest whole number, at least one."""
    return max(1, round(fraction * num_clients))


def sample_clients(
    num_clients: int, fraction: float, sampling: str, seed: int, server_round: int
) -> list[int]:
    """Return the ids of the clients that train in a round, ascending; every round draws anew.

    ``"fixed"`` draws exactly ``sample_size`` clients without replacement; ``"poisson"`` takes each
    client with probability ``fraction``, independently: possibly nobody. UserError otherwise.
    """
    draws = rng.uniform(seed, "sampling", np.arange(num_clients), server_round=server_round)
    if sampling == "poisson":
        return np.flatnonzero(draws < fraction).tolist()
    if sampling == "fixed":
        first = np.argsort(draws, kind="stable")[: sample_size(num_clients, fraction)]
        return np.sort(first).tolist()
    raise unknown("sampling", sampling, ["fixed", "poisson"])
