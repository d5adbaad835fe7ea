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
    """

    def __init__(self, router: nn.Module, experts: nn.Module) -> None:
        super().__init__()
        self.router = router
        self.experts = experts

    def forward(self, x: Tensor) -> Tensor:
        """Return class scores (logits) ``(B, C)`` for x ``(B, d)``."""
        return (self.router(x).unsqueeze(-2) @ self.experts(x)).squeeze(-2)
