"""Accuracy against router parameters: circuits, MLPs of growing width, the trigonometric gate.

Within a dataset every router stands before the same number of linear experts, and its learning
rate is chosen on validation samples.
"""

from dataclasses import replace

from qmoe_fed.config import ModelConfig
from qmoe_fed.studies.datasets import COMPONENTS, IMAGES, MOONS
from qmoe_fed.studies.models import (
    PAPER_DEEP_PARAMETERS,
    QUANTUM,
    ROUTERS,
    StudyModel,
    nearest_width,
)

LINEAR, MLP, TRIG = "linear", "MLP", "trigonometric"
CIRCUIT, REUPLOADING, SEPARABLE = "quantum", "re-uploading", "without CZ"
NOTEBOOK, CLASSIFIER = "notebooks", "linear classifier"

MOONS_B = f"{CIRCUIT} n2 L3"
PAPER_CIRCUIT, UNENTANGLED = f"{CIRCUIT} n8 L4", f"{SEPARABLE} n8 L4"
"""Model B; the paper's router on images, with 32 parameters (section VI-B), and its control."""

PAPER_MLP_PARAMETERS = 128
"""Of the paper's classical router on images (section VI-B)."""

_MOONS_WIDTHS = 1, 2, 4, 8, 16, 32, 48, 64
_MOONS_CIRCUITS = (2, 1), (2, 2), (2, 3), (2, 6), (4, 3)  # qubits, layers
_MOONS_REUPLOADING = (2, 2), (2, 3), (4, 3)


def sweep(dataset: str, quick: bool = False) -> list[StudyModel]:
    """Return the models that are compared on a dataset.

    Args:
        dataset: ``moons`` or one of ``datasets.IMAGES``.
        quick: A few of them, among which are all that the paper names.
    """
    models = _moons() if dataset == MOONS else _images(dataset)
    few = {"classifier", "linear", rival(dataset), MOONS_B, PAPER_CIRCUIT}
    return [model for model in models if model.name in few] if quick else models


def rival_width(dataset: str) -> int:
    """Return the width of the MLP router that comes nearest to the paper's on a dataset."""
    if dataset == MOONS:
        return nearest_width(PAPER_DEEP_PARAMETERS, 2, 2)
    return nearest_width(PAPER_MLP_PARAMETERS, COMPONENTS, IMAGES[dataset].num_experts)


def rival(dataset: str) -> str:
    """Return the name of that router."""
    return f"mlp-{rival_width(dataset)}"


def _moons() -> list[StudyModel]:
    experts = 2
    return [
        _classifier(),
        _linear(experts),
        *(_mlp(width, experts) for width in _MOONS_WIDTHS),
        _trig(experts),
        *(_circuit(n, depth, experts) for n, depth in _MOONS_CIRCUITS),
        *(_circuit(n, depth, experts, reuploading=True) for n, depth in _MOONS_REUPLOADING),
        _circuit(2, 3, experts, entangler="none"),
        StudyModel(NOTEBOOK, NOTEBOOK, replace(ROUTERS["notebook"], num_experts=experts)),
    ]


def _images(dataset: str) -> list[StudyModel]:
    experts, n = IMAGES[dataset].num_experts, COMPONENTS
    binary = experts == 2
    width = rival_width(dataset)
    widths = sorted({width, *((1, 32) if binary else (16, 64))})
    return [  # the slowest first
        _trig(experts),
        _circuit(n, 2, experts, reuploading=True),
        *(_circuit(n, depth, experts) for depth in ((4, 1) if binary else (4, 2, 1))),
        _circuit(n, 4, experts, entangler="none"),
        *(_mlp(width, experts) for width in widths),
        _linear(experts),
        _classifier(),
    ]


def _classifier() -> StudyModel:
    return StudyModel("classifier", CLASSIFIER, None)


def _linear(experts: int) -> StudyModel:
    return StudyModel("linear", LINEAR, ModelConfig(router="linear", num_experts=experts))


def _mlp(width: int, experts: int) -> StudyModel:
    config = ModelConfig(router="mlp", hidden_width=width, num_experts=experts)
    return StudyModel(f"mlp-{width}", MLP, config)


def _trig(experts: int) -> StudyModel:
    return StudyModel("trig", TRIG, ModelConfig(router="trig", num_experts=experts))


def _circuit(
    qubits: int, layers: int, experts: int, reuploading: bool = False, entangler: str = "cz"
) -> StudyModel:
    label = REUPLOADING if reuploading else CIRCUIT if entangler == "cz" else SEPARABLE
    config = replace(
        QUANTUM,
        qubits=qubits,
        layers=layers,
        num_experts=experts,
        reuploading=reuploading,
        entangler=entangler,
    )
    return StudyModel(f"{label} n{qubits} L{layers}", label, config)
