"""What small initial angles and training layer by layer change (paper, section VI-D)."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from qmoe_fed.config import ModelConfig
from qmoe_fed.learning import evaluate
from qmoe_fed.models import Parameters, build_model, initial_parameters
from qmoe_fed.studies.datasets import Dataset, Source, load
from qmoe_fed.studies.models import QUANTUM
from qmoe_fed.studies.protocol import Protocol, fit
from qmoe_fed.studies.statistics import Array
from qmoe_fed.studies.trials import TARGET, first_epoch

SMALL_ANGLE = 0.1
"""Half-width of the uniform distribution of small initial angles, radians."""

UNIFORM, SMALL, LAYERWISE, RESTARTS = "uniform", "small-angles", "layer-by-layer", "restarts"
STARTS = {
    UNIFORM: "angles in [-π, π]",
    SMALL: f"angles in [-{SMALL_ANGLE}, {SMALL_ANGLE}]",
    LAYERWISE: "layer by layer",
    RESTARTS: "Adam restarted as often",
}
"""Ways to train: the usual one, the paper's two remedies, and a control for the second.

Layer by layer (Skolik et al., Quantum Machine Intelligence 3, 5, 2021): one layer is trained, then
a layer with zero angles is added and all are trained, and so on; the epochs are shared out equally.
Every stage restarts the optimiser, and the control does that too, with all layers from the start.
"""


@dataclass(frozen=True)
class Start:
    """A way to train a circuit of the paper with two linear experts.

    Attributes:
        name: One of ``STARTS``.
        qubits: Of the circuit.
        layers: Of the circuit.
    """

    name: str
    qubits: int
    layers: int

    @property
    def stages(self) -> list[ModelConfig]:
        """What is trained, one after another."""
        angle = SMALL_ANGLE if self.name == SMALL else QUANTUM.init_angle
        whole = replace(
            QUANTUM, qubits=self.qubits, layers=self.layers, num_experts=2, init_angle=angle
        )
        if self.name == LAYERWISE:
            return [replace(whole, layers=depth + 1) for depth in range(self.layers)]
        return [whole] * (self.layers if self.name == RESTARTS else 1)


@dataclass(frozen=True, eq=False)
class Started:
    """What came of it at one learning rate; arrays have one entry per seed.

    Attributes:
        start: How it was trained.
        learning_rate: The learning rate.
        accuracy: On the test samples, ``(K,)``.
        epochs_to_target: First epoch with 90% validation accuracy, counted over all stages,
            ``(K,)``; NaN for none.
    """

    start: Start
    learning_rate: float
    accuracy: Array
    epochs_to_target: Array


def run(
    start: Start, source: Source, learning_rates: tuple[float, ...], protocol: Protocol
) -> list[Started]:
    """Train with every seed and learning rate, and test each; one result per learning rate."""
    data, seeds = load(source), source.seeds
    rows = torch.arange(seeds).repeat(len(learning_rates))
    rates = torch.tensor(learning_rates).repeat_interleave(seeds)
    accuracy, curves = _fit_stages(start, data, rows, rates, protocol)
    epochs = first_epoch(curves.double().numpy(), TARGET)
    return [
        Started(start, rate, accuracy[own].double().numpy(), epochs[own])
        for i, rate in enumerate(learning_rates)
        for own in [slice(i * seeds, (i + 1) * seeds)]
    ]


def _fit_stages(
    start: Start, data: Dataset, rows: Tensor, rates: Tensor, protocol: Protocol
) -> tuple[Tensor, Tensor]:
    """Return test accuracies ``(P,)`` and validation accuracies by epoch ``(P, E)``."""
    split, stages, streams = data.split, start.stages, rows.tolist()
    train, validation = split.train.select(rows), split.validation.select(rows)
    own = replace(protocol, max_epochs=max(1, protocol.max_epochs // len(stages)))
    parameters: Parameters = {}
    curves = []
    for config in stages:
        model = build_model(config, train.x.shape[-1], data.classes)
        fresh = initial_parameters(lambda m=model: m, protocol.seed, streams)  # type: ignore[misc]
        parameters = {**fresh, **_grown(parameters, config.depths[-1])}
        fitted = fit(model, parameters, train, validation, streams, rates, own)
        parameters = fitted.parameters
        curves.append(fitted.validation_accuracy)
    return evaluate(model, parameters, split.test.select(rows)).accuracy, torch.cat(curves, 1)


def _grown(parameters: Parameters, layers: int) -> Parameters:
    """Give the angles, ``(P, l, n)``, as many layers as asked; those added are zero."""
    grown = dict(parameters)
    if "router.theta" in grown:
        theta = grown["router.theta"]
        missing = layers - theta.shape[1]
        grown["router.theta"] = torch.nn.functional.pad(theta, (0, 0, 0, missing))
    return grown
