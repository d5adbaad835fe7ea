"""What privacy costs: accuracy, and the router that is learnt, at an ε that is asked for."""

import math
from dataclasses import dataclass, replace
from functools import lru_cache

import torch
from scipy.optimize import brentq

from qmoe_fed.config import Config
from qmoe_fed.data import ClientData
from qmoe_fed.errors import UserError
from qmoe_fed.experiments.measures.sharing import Clients, federate
from qmoe_fed.federated import State
from qmoe_fed.federated.build import make_rules
from qmoe_fed.federated.model import Model
from qmoe_fed.learning.replicas import expand
from qmoe_fed.learning.routing import routing_weights
from qmoe_fed.models import Parameters

NOISE = 0.3, 1e3
"""Noise multipliers among which the one for an ε is looked for."""


@dataclass(frozen=True)
class Utility:
    """What a run is worth after some rounds.

    Attributes:
        noise_multiplier: With which its mechanisms state the ε; 0 without one.
        accuracy: Mean over the clients that train, each with experts of its own.
        worst10: Mean over the worst 10% of them.
        unseen: Mean over clients that take no part, with the labelled samples of
            ``unseen-samples``, which names one number.
        distance: Of its router from the noiseless one: the share of the weight that goes to other
            experts, in [0, 1], mean over the clients' test samples.
    """

    noise_multiplier: float
    accuracy: float
    worst10: float
    unseen: float
    distance: float


def utility(config: Config, plain: Config, rounds: int, epsilon: float = 0.0) -> Utility:
    """Return what a run is worth; with ε, its noise-multiplier is replaced by the one for that ε.

    Args:
        config: The run.
        plain: The run from whose router the distance is taken: the same clients, no mechanisms.
        rounds: Of both.
        epsilon: That the mechanisms state in the end; 0: what they state.

    Raises:
        UserError: The settings cannot work, or its mechanisms cannot state that ε.
    """
    if epsilon:
        config = with_noise(config, noise_for(config, rounds, epsilon))
    reference = plainly(plain, rounds)
    state = reference if config == plain else federate(config, rounds)
    assert state.kept is not None
    clients, shared = Clients.of(config), state.shared
    model, newcomers = clients.model, clients.newcomers
    found = clients.outcome(
        {**state.kept.local, **expand(shared, len(clients.ids))},
        {**model.initial(model.local, newcomers), **expand(shared, len(newcomers))},
        model.local,
    )
    accuracy, worst10, unseen = (float(found[n] or 0) for n in ("accuracy", "worst10", "unseen"))
    return Utility(
        config.privacy.noise_multiplier if config.privacy.mechanisms else 0.0,
        accuracy,
        worst10,
        unseen,
        router_distance(model, clients.data, shared, reference.shared),
    )


@lru_cache(maxsize=2)
def plainly(config: Config, rounds: int) -> State:
    """Return a federation after some rounds; the last are kept, to measure distances from."""
    return federate(config, rounds)


def with_noise(config: Config, multiplier: float) -> Config:
    """Return a run with another noise-multiplier."""
    return replace(config, privacy=replace(config.privacy, noise_multiplier=multiplier))


def stated(config: Config, rounds: int) -> float:
    """Return the ε that a run's mechanisms state after some rounds, without running it.

    Raises:
        UserError: They state none.
    """
    mechanisms, metrics = make_rules(config).mechanisms, {}
    for mechanism in mechanisms:
        for number in range(1, rounds + 1):
            mechanism.before_round(number)
        metrics.update(mechanism.metrics())
    if "epsilon" not in metrics:
        raise UserError(f"mechanisms = {config.privacy.mechanisms!r} state no ε: none to reach")
    return metrics["epsilon"]


def noise_for(config: Config, rounds: int, epsilon: float) -> float:
    """Return the noise-multiplier with which a run's mechanisms state an ε after some rounds.

    Raises:
        UserError: None in ``NOISE`` does, or they state no ε.
    """

    def excess(log_noise: float) -> float:  # close to a straight line: few are tried
        return math.log(
            max(stated(with_noise(config, math.exp(log_noise)), rounds), 1e-9) / epsilon
        )

    low, high = (math.log(noise) for noise in NOISE)
    if not excess(low) > 0 > excess(high):
        raise UserError(
            f"epsilon = {epsilon:g} after {rounds} rounds of {config.privacy.mechanisms!r} needs a "
            f"noise-multiplier out of [{NOISE[0]:g}, {NOISE[1]:g}]; ask for another ε"
        )
    return math.exp(brentq(excess, low, high, xtol=1e-4))


def router_distance(model: Model, data: ClientData, one: Parameters, other: Parameters) -> float:
    """Return the share of the weight that two routers give to different experts, in [0, 1].

    Half of Σ|P − P'| over experts, mean over the clients' test samples.
    """
    execution, test, clients = model.config.training.execution, data.test, len(data.test.counts)
    with torch.no_grad():
        first, second = (
            routing_weights(model.module, expand(shared, clients), test.x, execution)
            for shared in (one, other)
        )
    moved = (first - second).abs().sum(-1) / 2
    return float((moved * test.mask).sum() / test.mask.sum())
