"""Optimisers as pure functions on a matrix of parameters ``(K, P)``, one row per replica.

Each row is optimised by itself, with a step count of its own, so that replicas may take different
numbers of steps. Constants are those of ``torch.optim``, which the tests compare against.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

State = dict[str, Tensor]
"""What an optimiser remembers, by name; every tensor has a leading dimension K."""

MOMENTUM = 0.9
BETA_1, BETA_2, EPSILON = 0.9, 0.999, 1e-8


@dataclass(frozen=True)
class Optimizer:
    """A pair of pure functions.

    Attributes:
        init: Parameters ``(K, P)`` → the state before the first step.
        step: (gradients ``(K, P)``, state, learning rate, one for all or ``(K, 1)``) → (change of
            the parameters, new state).
    """

    init: Callable[[Tensor], State]
    step: Callable[[Tensor, State, float | Tensor], tuple[Tensor, State]]


def _no_state(parameters: Tensor) -> State:
    return {}


def _sgd(gradients: Tensor, state: State, lr: float | Tensor) -> tuple[Tensor, State]:
    return -lr * gradients, state


def _velocity(parameters: Tensor) -> State:
    return {"velocity": torch.zeros_like(parameters)}


def _momentum(gradients: Tensor, state: State, lr: float | Tensor) -> tuple[Tensor, State]:
    velocity = MOMENTUM * state["velocity"] + gradients
    return -lr * velocity, {"velocity": velocity}


def _moments(parameters: Tensor) -> State:
    return {
        "count": torch.zeros(len(parameters), 1, dtype=parameters.dtype, device=parameters.device),
        "mean": torch.zeros_like(parameters),
        "square": torch.zeros_like(parameters),
    }


def _adam(gradients: Tensor, state: State, lr: float | Tensor) -> tuple[Tensor, State]:
    count = state["count"] + 1
    mean = torch.lerp(state["mean"], gradients, 1 - BETA_1)
    square = torch.lerp(state["square"], gradients.square(), 1 - BETA_2)
    scale = (square / (1 - BETA_2**count)).sqrt() + EPSILON
    change = mean / scale * (-lr / (1 - BETA_1**count))
    return change, {"count": count, "mean": mean, "square": square}


OPTIMIZERS = {
    "sgd": Optimizer(_no_state, _sgd),
    "momentum": Optimizer(_velocity, _momentum),
    "adam": Optimizer(_moments, _adam),
}
"""By the names of the setting ``optimizer``."""
