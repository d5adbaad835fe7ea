"""How the server moves the shared parameters along the aggregated update.

The aggregate Δ is a negative pseudo-gradient (Reddi et al., "Adaptive federated optimization",
2021, Algorithms 1 and 2). A step is a frozen description; its state is explicit, so that a round
that does not count leaves it as it was.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from qmoe_fed.federated.rules import StepState


@dataclass(frozen=True)
class Plain:
    """x ← x + lr Δ; with lr = 1, the aggregate of the clients' parameters (FedAvg)."""

    lr: float = 1.0

    def init(self, size: int) -> StepState:
        return {}

    def apply(self, state: StepState, aggregate: Tensor) -> tuple[Tensor, StepState]:
        return self.lr * aggregate, state


@dataclass(frozen=True)
class Momentum:
    """m ← β m + Δ, x ← x + lr m (FedAvgM; Hsu, Qi & Brown, 2019)."""

    lr: float = 1.0
    beta: float = 0.9

    def init(self, size: int) -> StepState:
        return {"momentum": torch.zeros(size, dtype=torch.float64)}

    def apply(self, state: StepState, aggregate: Tensor) -> tuple[Tensor, StepState]:
        momentum = self.beta * state["momentum"] + aggregate
        return self.lr * momentum, {"momentum": momentum}


@dataclass(frozen=True)
class Adam:
    """FedAdam (Reddi et al. 2021, Algorithm 2), without bias correction, as published.

    m ← β₁ m + (1 - β₁) Δ, v ← β₂ v + (1 - β₂) Δ², x ← x + lr m / (√v + ε), from v = ε².
    """

    lr: float = 0.1
    betas: tuple[float, float] = (0.9, 0.99)
    eps: float = 1e-3

    def init(self, size: int) -> StepState:
        zeros = torch.zeros(size, dtype=torch.float64)
        return {"momentum": zeros, "variance": zeros + self.eps**2}

    def apply(self, state: StepState, aggregate: Tensor) -> tuple[Tensor, StepState]:
        beta1, beta2 = self.betas
        momentum = beta1 * state["momentum"] + (1 - beta1) * aggregate
        variance = beta2 * state["variance"] + (1 - beta2) * aggregate.square()
        step = self.lr * momentum / (variance.sqrt() + self.eps)
        return step, {"momentum": momentum, "variance": variance}
