"""The models of the ablation, by name.

A, B and C of the paper (section IV-B) differ in the router alone; so do the controls. Every
router stands before the same linear experts.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from qmoe_fed.config import ModelConfig
from qmoe_fed.errors import unknown
from qmoe_fed.models import LinearExperts, Mixture, build_model

PAPER_DEEP_PARAMETERS = 240
"""Of the deep router, by Table I of the paper, which does not say how they are arranged."""

QUANTUM = ModelConfig(router="quantum", qubits=2, layers=3, reuploading=False)
"""The circuit of the paper, section IV-C: RY(x), L × (RY(θ), CZ between neighbours), probabilities.

The paper leaves n and L open; n = 2 is one qubit per feature, L = 3 that of the notebooks.
"""

ROUTERS = {
    "linear": ModelConfig(router="linear"),
    "quantum": QUANTUM,
    "deep": ModelConfig(router="mlp"),
    "mlp-16": ModelConfig(router="mlp", hidden_width=16),
    "separable": replace(QUANTUM, entangler="none"),
    "trig": ModelConfig(router="trig"),
    "reuploading": replace(QUANTUM, reuploading=True),
    "notebook": replace(
        QUANTUM, embedding="rx", entangler="strongly-entangling", readout="expval-adapter"
    ),
}
"""By name; ``deep`` gets the width whose parameters come nearest to the paper's 240."""

LABELS = {
    "linear": "A: linear",
    "quantum": "B: quantum",
    "deep": "C: deep",
    "mlp-16": "C, 16 wide",
    "separable": "B without CZ",
    "trig": "trigonometric",
    "reuploading": "B, re-uploading",
    "notebook": "B, notebooks",
    "classifier": "linear classifier",
}


@dataclass(frozen=True)
class StudyModel:
    """A model of a study.

    Attributes:
        name: Unique within a dataset.
        label: For tables and pictures.
        config: Router and experts; None is a single linear classifier.
    """

    name: str
    label: str
    config: ModelConfig | None

    def build(self, features: int, classes: int) -> Mixture:
        """Return a module for one replica."""
        if self.config is None:
            return Mixture(NoChoice(), LinearExperts(features, classes, 1))
        return build_model(self.config, features, classes)


class NoChoice(nn.Module):
    """The router before a single expert: it has no parameters."""

    def forward(self, x: Tensor) -> Tensor:
        """Return weights ``(B, 1)``, all 1."""
        return torch.ones_like(x[:, :1])


def ablation_model(name: str, num_experts: int = 2) -> StudyModel:
    """Return a model of the ablation for Two Moons.

    Its name is unique among all numbers of experts: with other than 2, that of the notebooks, the
    number follows.

    Raises:
        UserError: There is no such model.
    """
    if name == "classifier":
        return StudyModel(name, LABELS[name], None)
    if name not in ROUTERS:
        raise unknown("model", name, LABELS)
    config = replace(ROUTERS[name], num_experts=num_experts)
    if name == "deep":
        width = nearest_width(PAPER_DEEP_PARAMETERS, 2, num_experts)
        config = replace(config, hidden_width=width)
    tail = "" if num_experts == 2 else f"-{num_experts}"
    return StudyModel(name + tail, LABELS[name], config)


def nearest_width(parameters: int, features: int, num_experts: int) -> int:
    """Return the width at which an MLP router comes nearest to a number of parameters."""
    return max(1, round((parameters - num_experts) / (features + 1 + num_experts)))


def router_parameters(model: nn.Module) -> int:
    """Return the number of parameters of the router, adapters included."""
    return sum(p.numel() for name, p in model.named_parameters() if name.startswith("router."))


def all_parameters(model: nn.Module) -> int:
    """Return the number of parameters of router and experts."""
    return sum(p.numel() for p in model.parameters())
