"""Linear experts and the mixture: an ordinary module for one client."""

import torch
from torch import Tensor, nn


class LinearExperts(nn.Module):
    """N linear maps of the same input: Wᵢx + bᵢ."""

    def __init__(self, features: int, classes: int, num_experts: int) -> None:
        super().__init__()
        bound = features**-0.5
        self.init_bounds = {"weight": bound, "bias": bound}
        self.weight = nn.Parameter(torch.zeros(num_experts, classes, features))
        self.bias = nn.Parameter(torch.zeros(num_experts, classes))

    def forward(self, x: Tensor) -> Tensor:
        """Return the outputs of all experts, ``(B, N, C)``, for x ``(B, d)``."""
        return torch.einsum("bd,ncd->bnc", x, self.weight) + self.bias


class ExpertList(nn.Module):
    """N copies of a user's own expert, each mapping ``(B, d)`` to ``(B, C)``."""

    def __init__(self, experts: list[nn.Module]) -> None:
        super().__init__()
        self.experts = nn.ModuleList(experts)

    def forward(self, x: Tensor) -> Tensor:
        """Return the outputs of all experts, ``(B, N, C)``, for x ``(B, d)``."""
        return torch.stack([expert(x) for expert in self.experts], -2)


def keep_largest(weights: Tensor, k: int) -> Tensor:
    """Set all but the k largest weights of each sample to zero and let the rest sum to 1.

    Args:
        weights: Routing weights, ``(B, N)``.
        k: Number of experts that a sample is sent to.
    """
    values, experts = weights.topk(k, -1)
    values = values / values.sum(-1, keepdim=True)
    return torch.zeros_like(weights).scatter(-1, experts, values)


class Mixture(nn.Module):
    """y = Σᵢ P(expert i | x)·(Wᵢx + bᵢ) (paper, section IV-A).

    Its parameters form the two groups ``router.*`` and ``experts.*``.

    Args:
        router: Maps ``(B, d)`` to weights ``(B, N)``.
        experts: Map ``(B, D)`` to outputs ``(B, N, C)``.
        router_width: Number of leading columns of a sample that the router sees; the experts see
            those behind them. 0: both see all.
    """

    def __init__(self, router: nn.Module, experts: nn.Module, router_width: int = 0) -> None:
        super().__init__()
        self.router = router
        self.experts = experts
        self.router_width = router_width

    def parts(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return what the router sees of samples ``(..., d)``, and what the experts see."""
        width = self.router_width
        return (x[..., :width], x[..., width:]) if width else (x, x)

    def forward(self, x: Tensor) -> Tensor:
        """Return class scores (logits) ``(B, C)`` for x ``(B, d)``."""
        angles, inputs = self.parts(x)
        return (self.router(angles).unsqueeze(-2) @ self.experts(inputs)).squeeze(-2)
