"""The models of the studies: settings as a federation has them, one linear map, and their sizes."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from qmoe_fed.config import Config
from qmoe_fed.config.settings import Scalar
from qmoe_fed.models import LinearExperts, Mixture, build_model

Model = Mapping[str, Scalar]
"""Settings of router and experts that differ from the defaults; empty: one linear classifier."""

CLASSIFIER: Model = {}

QUANTUM: Model = {"router": "quantum", "qubits": 2, "layers": 3, "reuploading": False}
"""The circuit of the paper, section IV-C: RY(x), L × (RY(θ), CZ between neighbours), probabilities.

The paper leaves n and L open; n = 2 is one qubit per feature, L = 3 that of the notebooks.
"""

_LIKE_THE_NOTEBOOKS: Model = {
    "embedding": "rx",
    "entangler": "strongly-entangling",
    "readout": "expval-adapter",
}
ROUTERS: dict[str, Model] = {
    "linear": {"router": "linear"},
    "quantum": QUANTUM,
    "separable": {**QUANTUM, "entangler": "none"},
    "reuploading": {**QUANTUM, "reuploading": True},
    "notebook": {**QUANTUM, **_LIKE_THE_NOTEBOOKS},
    "trig": {"router": "trig"},
}
"""Routers that need no other setting, by name."""


def mlp(width: int) -> Model:
    """Return the MLP router of one hidden layer."""
    return {"router": "mlp", "hidden-width": width}


class NoChoice(nn.Module):
    """The router before a single expert: it has no parameters."""

    def forward(self, x: Tensor) -> Tensor:
        """Return weights ``(B, 1)``, all 1."""
        return torch.ones_like(x[:, :1])


def build(model: Model, features: int, classes: int) -> Mixture:
    """Return a module for one replica.

    Raises:
        UserError: A setting is unknown or out of range, or two cannot go together.
    """
    if not model:
        return Mixture(NoChoice(), LinearExperts(features, classes, 1))
    return build_model(Config.from_flat(model).model, features, classes)


def nearest_width(parameters: int, features: int, num_experts: int) -> int:
    """Return the width at which an MLP router comes nearest to a number of parameters."""
    return max(1, round((parameters - num_experts) / (features + 1 + num_experts)))


def router_parameters(model: nn.Module) -> int:
    """Return the number of parameters of the router, adapters included."""
    return sum(p.numel() for name, p in model.named_parameters() if name.startswith("router."))


def all_parameters(model: nn.Module) -> int:
    """Return the number of parameters of router and experts."""
    return sum(p.numel() for p in model.parameters())
