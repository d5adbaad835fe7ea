"""What interference is worth to a mixture: ensembles in superposition, amplified routers."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import product

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from qmoe_fed.circuits import Circuit, statevector
from qmoe_fed.circuits.ansatz import layered
from qmoe_fed.circuits.compose import amplify
from qmoe_fed.experiments.cells import Measured, Row, to_rows
from qmoe_fed.experiments.datasets import Source, load
from qmoe_fed.experiments.measures.fits import fit_made
from qmoe_fed.experiments.models import Model, build, router_parameters
from qmoe_fed.experiments.protocol import Protocol
from qmoe_fed.learning import evaluate
from qmoe_fed.learning.replicas import apply
from qmoe_fed.learning.routing import ROUTER
from qmoe_fed.models import Mixture, Parameters, QuantumRouter, initial_parameters
from qmoe_fed.models.shots import draw_keys, sample

SCALE = 5.0
"""Of ⟨Z⟩ as a class score, so that a unanimous ensemble is sure; changes no decision."""


class Voters(nn.Module):
    """N circuits of one form, each with its own parameters: the scores of a sample are ±⟨Z⟩."""

    def __init__(self, circuit: Circuit, count: int) -> None:
        super().__init__()
        self.circuit, self.init_bounds = circuit, {"theta": math.pi}
        self.theta = nn.Parameter(torch.zeros(count, circuit.parameters))

    def forward(self, x: Tensor) -> Tensor:
        """Return scores ``(B, N, 2)`` for x ``(B, d)``."""
        z = SCALE * statevector.run(self.circuit, x, self.theta).squeeze(-1).mT
        return torch.stack([z, -z], -1)


class Amplitudes(nn.Module):
    """Weights that are the same for all x: squares of a register's amplitudes, equal at first."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.init_bounds = {"change": 0.0}
        self.change = nn.Parameter(torch.zeros(count))

    def forward(self, x: Tensor) -> Tensor:
        """Return weights ``(B, N)`` for x ``(B, d)``."""
        squares = (1 + self.change) ** 2
        return (squares / squares.sum()).expand(len(x), -1)


class Tempered(nn.Module):
    """A router's weights to the power 1/T, normalised: a softmax of log p; T = 1 at first."""

    def __init__(self, router: nn.Module) -> None:
        super().__init__()
        self.router, self.init_bounds = router, {"log_temperature": 0.0}
        self.log_temperature = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        """Return weights ``(B, N)`` for x ``(B, d)``."""
        return sharpened(self.router(x), self.log_temperature.exp())


def sharpened(p: Tensor, temperature: Tensor | float) -> Tensor:
    """Return probabilities ``(..., N)`` to the power 1/T, normalised."""
    return (p.clamp(min=1e-12).log() / temperature).softmax(-1)


def ensembles(
    count: int,
    layers: int,
    routers: Mapping[str, Model],
    rate: float,
    source: Source,
    protocol: Protocol,
) -> Measured:
    """Weight random circuits in every way, and test each.

    The circuits are those of the paper, never trained (Schuld & Petruccione, "Quantum ensembles of
    quantum classifiers", 2018). What ``circuits.compose.superpose`` makes of them is read as their
    mixture, which is what is computed.

    Args:
        count: Number N of circuits.
        layers: Of each.
        routers: Settings of routers that look at x, by name.
        rate: Learning rate of amplitudes and routers.
        source: The data.
        protocol: How these are fitted.

    Returns:
        A row per ``weights`` and seed: test ``accuracy``, number of ``trained`` parameters.
    """
    data = load(source)
    one = replace(layered(data.features, layers, data.features), readout="expval", measured=1)

    def mixture(settings: Model | None = None) -> Mixture:
        if settings is None:
            return Mixture(Amplitudes(count), Voters(one, count))
        own = {**settings, "num-experts": count}
        return Mixture(build(own, data.features, data.classes).router, Voters(one, count))

    def fitted(make: Callable[[], Mixture]) -> Parameters:
        return fit_made(make, source, [rate], protocol, trainable=ROUTER)[1].parameters

    start = initial_parameters(mixture, protocol.seed, source.streams)
    votes = statevector.run(one, data.train.x.unsqueeze(1), start["experts.theta"]).squeeze(-1)
    right = ((votes < 0) == data.train.y.bool().unsqueeze(1)).float().mean(-1)  # (S, N)
    fixed = {
        "equal": torch.ones_like(right),
        "accuracy": right,
        "accuracy above 1/2": (right - 0.5).clamp(min=1e-9),
        "the best one": one_hot(right.argmax(-1), count).float(),
    }
    ways = {n: (mixture(), {**start, "router.change": w.sqrt() - 1}, 0) for n, w in fixed.items()}
    ways["trained"] = mixture(), fitted(mixture), count
    for name, settings in routers.items():
        make = partial(mixture, settings)
        ways[name] = make(), fitted(make), router_parameters(make())
    rows: list[Row] = []
    for name, (module, parameters, trained) in ways.items():
        found = evaluate(module, parameters, data.test).accuracy.double().numpy()
        columns = {"weights": name, "seed": source.streams, "accuracy": found}
        rows += to_rows({**columns, "trained": trained})
    return Measured(rows)


def amplifications(
    model: Model,
    rounds: int,
    tempered: bool,
    rate: float,
    source: Source,
    protocol: Protocol,
    uses: Sequence[int],
    temperatures: Sequence[float],
) -> Measured:
    """Fit a router of two experts with rounds of amplification or a temperature, and test it.

    Without either it is also tested with what is put in only then: one round and two, and the
    temperature that is best on the validation samples.

    Args:
        model: Settings of a quantum router that reads probabilities.
        rounds: Of amplification of expert 0, k, through which it is trained.
        tempered: Whether a temperature is trained.
        rate: Learning rate.
        source: The data.
        protocol: How it is fitted.
        uses: Numbers of uses of the circuit, or its inverse, for a sample. A shot of k rounds takes
            2k + 1, so there are that many times fewer; 0: exact.
        temperatures: That are tried on validation samples; the first of the best is taken.

    Returns:
        A row per ``way``, number of ``uses`` and seed: test ``accuracy`` and ``sharpness``, the
        mean weight of the larger expert, in [1/2, 1].
    """
    data, settings = load(source), {**model, "num-experts": 2}
    plain = build(settings, data.features, data.classes)
    assert isinstance(plain.router, QuantumRouter)
    circuit = plain.router.circuit

    def make() -> Mixture:
        router = QuantumRouter(amplify(circuit, rounds), 2)
        return Mixture(Tempered(router) if tempered else router, plain.experts)

    module, fit = fit_made(make, source, [rate], protocol)
    own = {n.split(".", 1)[1]: v for n, v in fit.parameters.items() if n.startswith("experts.")}
    theta = fit.parameters["router.router.theta" if tempered else "router.theta"].double()

    def scored(k: int, temperature: Tensor | float, number: int, on: str) -> tuple[Tensor, Tensor]:
        samples = vars(data)[on]
        p = statevector.run(amplify(circuit, k), samples.x.double(), theta)
        drawn = sample(p, draw_keys(protocol.seed, source.streams, step=k), number // (2 * k + 1))
        weights = sharpened(drawn, temperature)
        outputs = apply(module.experts, own, samples.x).double()
        right = (weights.unsqueeze(-2) @ outputs).squeeze(-2).argmax(-1) == samples.y
        return right.double().mean(1), weights.amax(-1).mean(1)

    ways: dict[str, tuple[int, Tensor | float]] = {f"{rounds} rounds, trained": (rounds, 1.0)}
    if tempered:
        learnt = fit.parameters["router.log_temperature"].double().exp()
        ways = {"temperature, trained": (0, learnt.unsqueeze(-1))}
    elif not rounds:
        tried = torch.stack([scored(0, t, 0, "validation")[0] for t in temperatures])
        best = torch.tensor(temperatures).double()[tried.argmax(0)]
        ways |= {f"{k} rounds, put in": (k, 1.0) for k in (1, 2)}
        ways["temperature, chosen"] = 0, best[:, None, None]
    rows: list[Row] = []
    for (way, (k, temperature)), number in product(ways.items(), uses):
        right, sharp = (v.numpy() for v in scored(k, temperature, number, "test"))
        about = {"way": way, "uses": number, "seed": source.streams}
        rows += to_rows({**about, "accuracy": right, "sharpness": sharp})
    return Measured(rows)
