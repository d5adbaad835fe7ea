"""What privacy costs: accuracy, and the router that is learnt, at an ε that is asked for."""

import math
from dataclasses import replace
from functools import lru_cache

import torch
from scipy.optimize import brentq

from qmoe_fed.config import Config
from qmoe_fed.errors import UserError
from qmoe_fed.experiments.cells import Row
from qmoe_fed.experiments.measures.sharing import Clients, federate
from qmoe_fed.federated.build import make_rules
from qmoe_fed.learning.replicas import expand
from qmoe_fed.learning.routing import routing_weights
from qmoe_fed.models import Parameters

NOISE = 0.3, 1e3
"""Noise multipliers among which the one for an ε is looked for."""

kept = lru_cache(maxsize=2)(federate)  # runs without noise, which distances are measured from


def utility(config: Config, plain: Config, rounds: int, epsilon: float = 0.0) -> Row:
    """Return what a run is worth; with ε, its noise-multiplier is replaced by the one for that ε.

    A row is that of ``measures.sharing.shared``, with ``noise_multiplier`` and the ``distance`` of
    the router from that of the plain run, see ``router_distance``.

    Args:
        config: The run; ``unseen-samples`` names one number.
        plain: The run from whose router the distance is taken: the same clients, no mechanisms.
        rounds: Of both.
        epsilon: That the mechanisms state in the end; 0: the run as it is.

    Raises:
        UserError: The settings cannot work, or its mechanisms cannot state that ε.
    """
    noise = noise_for(config, rounds, epsilon) if epsilon else 0.0
    config = with_noise(config, noise) if epsilon else config
    reference = kept(plain, rounds)
    state = reference if config == plain else federate(config, rounds)
    assert state.kept is not None
    clients, shared = Clients.of(config), state.shared
    mine, theirs = (expand(shared, len(ids)) for ids in (clients.ids, clients.newcomers))
    start, local = clients.model.initial(clients.model.local, clients.newcomers), state.kept.local
    found = clients.outcome({**local, **mine}, {**start, **theirs}, clients.model.local, shared)
    distance = router_distance(clients, shared, reference.shared)
    return {**found, "noise_multiplier": noise, "distance": distance}


def with_noise(config: Config, multiplier: float) -> Config:
    """Return a run with another noise-multiplier."""
    return replace(config, privacy=replace(config.privacy, noise_multiplier=multiplier))


def stated(config: Config, rounds: int) -> float:
    """Return the ε that a run's mechanisms state after some rounds, without running it.

    Raises:
        UserError: They state none.
    """
    metrics: dict[str, float] = {}
    for mechanism in make_rules(config).mechanisms:
        for number in range(1, rounds + 1):
            mechanism.before_round(number)
        metrics |= mechanism.metrics()
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


@torch.no_grad()
def router_distance(clients: Clients, one: Parameters, other: Parameters) -> float:
    """Return the share of the weight that two routers give to different experts, in [0, 1].

    Half of Σ|P − P'| over experts, mean over the clients' test samples.
    """
    module, test, count = clients.model.module, clients.data.test, len(clients.ids)
    first, second = (routing_weights(module, expand(own, count), test.x) for own in (one, other))
    moved = (first - second).abs().sum(-1) / 2
    return float((moved * test.mask).sum() / test.mask.sum())
