"""What error mitigation gives back of a model's accuracy under noise, exact and from shots."""

from collections.abc import Mapping, Sequence
from functools import partial
from itertools import product
from typing import Any

from torch import Tensor

from qmoe_fed.circuits import Circuit, Engine, statevector
from qmoe_fed.circuits.noise.mitigation import extrapolated, without_readout_errors
from qmoe_fed.experiments.cells import Measured, Row, to_rows
from qmoe_fed.experiments.datasets import Source, load
from qmoe_fed.experiments.measures.fits import fit_all
from qmoe_fed.experiments.models import Model, build
from qmoe_fed.experiments.protocol import Protocol
from qmoe_fed.learning.replicas import apply
from qmoe_fed.models import QuantumRouter, draw_keys
from qmoe_fed.models.routers import fold
from qmoe_fed.models.shots import sample


def mitigations(
    model: Model,
    rate: float,
    source: Source,
    protocol: Protocol,
    noise: Mapping[str, Mapping[str, Any]],
    strengths: Sequence[float],
    methods: Mapping[str, Mapping[str, Any]],
    shots: Sequence[int],
) -> Measured:
    """Fit a model without noise and test it under it, with and without mitigation.

    Args:
        model: Settings of the model: a quantum router whose readout is ``probs``.
        rate: Learning rate.
        source: The data.
        protocol: How it is fitted.
        noise: Kinds of noise by name: ``settings`` that add it, the settings ``at`` which its
            strength stands, and names of ``methods``.
        strengths: Of the noise.
        methods: By name, the arguments of ``extrapolated``, if any, and ``readout``, whether
            readout errors are inverted first.
        shots: Numbers of runs of circuits for every sample, shared out among the circuits of a
            method; 0: exact probabilities.

    Returns:
        A row per noise, strength, method, number of shots and seed: ``accuracy`` on the test
        samples, ``error``, the mean distance of the weights from those without noise, in [0, 1],
        and the number of ``circuits``.
    """
    data, streams = load(source), source.streams
    module, fitted = fit_all(model, source, [rate], protocol)
    own = {n.split(".", 1)[1]: v for n, v in fitted.parameters.items() if n.startswith("experts.")}
    outputs = apply(module.experts, own, data.test.x).double()  # (S, M, N, C)
    x, theta = data.test.x.double(), fitted.parameters["router.theta"].double()

    def weights_of(settings: Model, engine: Engine) -> Tensor:
        router = build(settings, data.features, data.classes).router
        assert isinstance(router, QuantumRouter)
        return fold(engine(router.circuit, x, theta, None), router.num_experts)

    def measured(
        number: int, circuit: Circuit, x: Tensor, theta: Tensor, strengths: Tensor | None
    ) -> Tensor:
        key = draw_keys(protocol.seed, streams, step=len(circuit.operations))
        return sample(statevector.run(circuit, x, theta, strengths), key, number)

    ideal, rows = weights_of(model, statevector.run), list[Row]()
    for name, p in product(noise, strengths):
        added = {**model, **noise[name]["settings"], **dict.fromkeys(noise[name]["at"], p)}
        for method, number in product(noise[name]["methods"], shots):
            keywords = dict(methods[method])
            inverted, circuits = keywords.pop("readout", False), len(keywords.get("scales", "1"))
            engine: Engine = partial(measured, number // circuits)
            engine = without_readout_errors(engine) if inverted else engine
            weights = weights_of(added, extrapolated(engine, **keywords) if keywords else engine)
            right = (weights.unsqueeze(-2) @ outputs).squeeze(-2).argmax(-1) == data.test.y
            about = {"noise": name, "strength": p, "method": method, "shots": number}
            about |= {"circuits": circuits, "seed": streams}
            error = (weights - ideal).abs().sum(-1).mean(1).numpy() / 2
            rows += to_rows({**about, "accuracy": right.double().mean(1).numpy(), "error": error})
    return Measured(rows)
