"""What error mitigation gives back of a model's accuracy under noise, exact and from shots."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from qmoe_fed.circuits import Circuit, Engine, Gate, statevector
from qmoe_fed.circuits.noise.mitigation import extrapolated, without_readout_errors
from qmoe_fed.experiments.cells import Measured, Row, to_rows
from qmoe_fed.experiments.datasets import Source, load
from qmoe_fed.experiments.measures.fits import fit_all
from qmoe_fed.experiments.models import Model, build
from qmoe_fed.experiments.protocol import Protocol
from qmoe_fed.learning.replicas import apply
from qmoe_fed.models import QuantumRouter
from qmoe_fed.models.routers import fold
from qmoe_fed.models.shots import draw_keys, sample


@dataclass(frozen=True)
class Method:
    """A way to mitigate.

    Attributes:
        extrapolation: ``linear``, ``richardson``, ``exponential``; empty: none.
        scales: Of the noise, one circuit each; empty: none.
        folding: ``global`` or ``gate``.
        readout: Whether readout errors are inverted.
    """

    extrapolation: str = ""
    scales: tuple[float, ...] = ()
    folding: str = "global"
    readout: bool = False

    def around(self, engine: Engine) -> Engine:
        """Return an engine with it."""
        inner = without_readout_errors(engine) if self.readout else engine
        if not self.extrapolation:
            return inner
        return extrapolated(inner, self.extrapolation, self.scales, self.folding)


def mitigations(
    model: Model,
    rate: float,
    source: Source,
    protocol: Protocol,
    noise: Model,
    methods: Sequence[tuple[str, Method]],
    shots: Sequence[int],
) -> Measured:
    """Fit a model without noise and test it under it, with and without mitigation.

    Args:
        model: Settings of the model: a quantum router whose readout is ``probs``.
        rate: Learning rate.
        source: The data.
        protocol: How it is fitted.
        noise: Settings that add the noise.
        methods: Ways to mitigate, by name.
        shots: Numbers of runs of circuits for every sample, shared out among the circuits of a
            method; 0: exact probabilities.

    Returns:
        A row per method, number of shots and seed: ``accuracy`` on the test samples, ``error``, the
        mean distance of the routing weights from those without noise, in [0, 1], the number of
        ``circuits``, and ``gates``, how many a shot takes on average.
    """
    data = load(source)
    fitted = fit_all(model, source, [rate], protocol)[1].parameters
    module = build({**model, **noise}, data.features, data.classes)
    clean, router, test = build(model, data.features, data.classes).router, module.router, data.test
    assert isinstance(router, QuantumRouter)
    assert isinstance(clean, QuantumRouter)
    experts = {n.removeprefix("experts."): v for n, v in fitted.items() if n.startswith("experts.")}
    outputs = apply(module.experts, experts, test.x).double()  # (S, M, N, C)
    x, theta = test.x.double(), fitted["router.theta"].double()
    ideal = fold(statevector.run(clean.circuit, x, theta), router.num_experts)
    rows: list[Row] = []
    for name, method in methods:
        circuits = max(1, len(method.scales))
        for number in shots:
            executed: list[int] = []
            engine = method.around(
                _measured(number // circuits, protocol.seed, source.streams, executed)
            )
            with torch.no_grad():
                weights = fold(engine(router.circuit, x, theta, None), router.num_experts)
            right = (weights.unsqueeze(-2) @ outputs).squeeze(-2).argmax(-1) == test.y
            columns = {
                "method": name,
                "shots": number,
                "seed": source.streams,
                "accuracy": right.double().mean(1).numpy(),
                "error": (weights - ideal).abs().sum(-1).mean(1).numpy() / 2,
                "circuits": circuits,
                "gates": sum(executed) / circuits,
            }
            rows += to_rows(columns)
    return Measured(rows)


def _measured(shots: int, seed: int, streams: Sequence[int], executed: list[int]) -> Engine:
    """Return an engine that measures ``shots`` times, or 0: exactly, and notes how many gates."""

    def run(circuit: Circuit, x: Tensor, theta: Tensor, strengths: Tensor | None = None) -> Tensor:
        executed.append(sum(isinstance(o, Gate) for o in circuit.operations))
        p = statevector.run(circuit, x, theta, strengths)
        return sample(p, draw_keys(seed, streams, step=len(circuit.operations)), shots)

    return run
