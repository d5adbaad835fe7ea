"""What error mitigation gives back of a model's accuracy under noise, exact and from shots."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product

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


@dataclass(frozen=True)
class Exposure:
    """Noise, and what is done about it: settings that add it, what its rows say, and methods."""

    noise: Model
    about: Row
    methods: Mapping[str, Method]


def mitigations(
    model: Model,
    rate: float,
    source: Source,
    protocol: Protocol,
    exposures: Sequence[Exposure],
    shots: Sequence[int],
) -> Measured:
    """Fit a model without noise and test it under it, with and without mitigation.

    Args:
        model: Settings of the model: a quantum router whose readout is ``probs``.
        rate: Learning rate.
        source: The data.
        protocol: How it is fitted.
        exposures: What it is tested under, and how that is mitigated.
        shots: Numbers of runs of circuits for every sample, shared out among the circuits of a
            method; 0: exact probabilities.

    Returns:
        A row per exposure, method, number of shots and seed: ``accuracy`` on the test samples,
        ``error``, the mean distance of the routing weights from those without noise, in [0, 1],
        the number of ``circuits``, and ``gates``, how many a shot takes on average.
    """
    data = load(source)
    fitted = fit_all(model, source, [rate], protocol)[1].parameters
    module, test = build(model, data.features, data.classes), data.test
    experts = {n.removeprefix("experts."): v for n, v in fitted.items() if n.startswith("experts.")}
    outputs = apply(module.experts, experts, test.x).double()  # (S, M, N, C)
    x, theta = test.x.double(), fitted["router.theta"].double()

    def weights_of(settings: Model, engine: Engine) -> Tensor:
        router = build(settings, data.features, data.classes).router
        assert isinstance(router, QuantumRouter)
        return fold(engine(router.circuit, x, theta, None), router.num_experts)

    ideal, rows = weights_of(model, statevector.run), list[Row]()
    for exposure in exposures:
        for (name, method), number in product(exposure.methods.items(), shots):
            circuits, executed = max(1, len(method.scales)), list[int]()
            single = _measured(number // circuits, protocol.seed, source.streams, executed)
            weights = weights_of({**model, **exposure.noise}, method.around(single))
            right = (weights.unsqueeze(-2) @ outputs).squeeze(-2).argmax(-1) == test.y
            columns = {
                **exposure.about,
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
