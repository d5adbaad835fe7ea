"""A model fitted without noise or under it, and its accuracy under noise, exact or from shots."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from qmoe_fed import rng
from qmoe_fed.circuits import Circuit, density
from qmoe_fed.circuits.channels import PLACEMENTS, Noise
from qmoe_fed.config import Config
from qmoe_fed.data import Samples
from qmoe_fed.experiments.cells import Measured, Row
from qmoe_fed.experiments.datasets import Dataset, Source, load
from qmoe_fed.experiments.models import Model, build
from qmoe_fed.experiments.protocol import Protocol, fit
from qmoe_fed.learning import evaluate
from qmoe_fed.learning.replicas import apply
from qmoe_fed.learning.routing import routing_weights
from qmoe_fed.models import Mixture, Parameters, QuantumRouter, initial_parameters

READOUT_ERROR = "readout-error"
"""The channel that flips measured bits and leaves the gates alone."""

MEASUREMENT = "measurement"
"""Where readout errors happen, beside the placements of the channels on gates."""

TEST, TRAINING = "test", "training"


@dataclass(frozen=True)
class Noisy:
    """A kind of noise at several strengths; each has replicas of its own.

    Attributes:
        channel: A channel on gates, or ``READOUT_ERROR``.
        placement: Where it acts; ``MEASUREMENT`` for readout errors.
        strengths: In [0, 1], ascending.
        shots: Numbers of measurements that accuracy is measured with, beside exact weights.
        samples: ``TEST`` or ``TRAINING``: what it is measured on.
    """

    channel: str
    placement: str
    strengths: tuple[float, ...]
    shots: tuple[int, ...] = ()
    samples: str = TEST


def noisy_fits(
    model: Model,
    rate: float,
    source: Source,
    protocol: Protocol,
    trained: Noisy | None,
    tests: Sequence[Noisy],
) -> Measured:
    """Fit a model with all seeds, and all strengths it is trained under, and test it under noise.

    Args:
        model: Settings of the model.
        rate: Learning rate.
        source: The data.
        protocol: How it is fitted; validation is under the noise of training.
        trained: The noise it is trained under; None for none.
        tests: The noise it is tested under; if it was trained under noise, with the strengths of
            training, each by the replicas that were trained under it.

    Returns:
        A row per test, number of shots, strength and seed: ``channel``, ``placement``, ``samples``,
        ``shots`` (None: exact), ``strength``, ``seed``, ``accuracy``. Without tests a row per
        seed, with its accuracy on the test samples.
    """
    data = load(source)
    learnt = _fit(model, rate, data, source, protocol, trained)
    if not tests:
        accuracy = evaluate(build(model, data.features, data.classes), learnt, data.split.test)
        return Measured(_rows(source, {}, accuracy.accuracy))
    rows: list[Row] = []
    for test in tests:
        own = data.split.test if test.samples == TEST else data.split.train
        module = noisy_model(model, test, data.features, data.classes)
        parameters = (
            learnt | levels(test, source.seeds) if trained else expose(learnt, test, source.seeds)
        )
        samples = own.select(torch.arange(source.seeds).repeat(len(test.strengths)))
        about: Row = {
            "channel": test.channel,
            "placement": test.placement,
            "samples": test.samples,
        }
        for shots in (None, *test.shots):
            if shots is None:
                accuracy_by = evaluate(module, parameters, samples).accuracy
            else:
                accuracy_by = accuracy_with_shots(
                    module, parameters, samples, shots, protocol.seed, source.streams
                )
            for strength, values in zip(
                test.strengths, accuracy_by.view(-1, source.seeds), strict=True
            ):
                rows += _rows(source, {**about, "shots": shots, "strength": strength}, values)
    return Measured(rows)


def _rows(source: Source, about: Row, accuracy: Tensor) -> list[Row]:
    values = accuracy.double().tolist()
    return [
        {**about, "seed": seed, "accuracy": value}
        for seed, value in zip(source.streams, values, strict=True)
    ]


def _fit(
    model: Model,
    rate: float,
    data: Dataset,
    source: Source,
    protocol: Protocol,
    trained: Noisy | None,
) -> Parameters:
    """Return the fitted parameters, without noise, of E·S replicas, strength first."""

    def make() -> Mixture:
        return build(model, data.features, data.classes)

    start = initial_parameters(make, protocol.seed, source.streams)
    learnt, module, repeats = frozenset(start), make(), 1
    if trained:
        module = noisy_model(model, trained, data.features, data.classes)
        start, repeats = expose(start, trained, source.seeds), len(trained.strengths)
    rows = torch.arange(source.seeds).repeat(repeats)
    fitted = fit(
        module,
        start,
        data.split.train.select(rows),
        data.split.validation.select(rows),
        [*source.streams] * repeats,
        torch.full((len(rows),), rate),
        protocol,
        learnt,
    )
    return {name: values for name, values in fitted.parameters.items() if name in learnt}


class NoisyQuantumRouter(QuantumRouter):
    """A quantum router whose circuit is simulated exactly under noise.

    The strengths of the noise are parameters that are not trained, so that replicas may differ in
    them: ``strength`` of the channel and ``readout_error``, both scalars in [0, 1].
    """

    def __init__(self, router: QuantumRouter, readout: str, noise: Noise) -> None:
        bound = router.init_bounds["theta"]
        super().__init__(router.circuit, router.num_experts, readout, bound)
        self.noise = noise
        self.strength = nn.Parameter(torch.zeros(()), requires_grad=False)
        self.readout_error = nn.Parameter(torch.zeros(()), requires_grad=False)
        self.simulate = self._simulate

    def _simulate(self, circuit: Circuit, x: Tensor, theta: Tensor) -> Tensor:
        return density.run(circuit, x, theta, self.noise.at(self.strength, self.readout_error))


def noisy_model(model: Model, noise: Noisy, features: int, classes: int) -> Mixture:
    """Return the mixture for one replica, its quantum router under noise.

    Raises:
        UserError: There is no such channel or placement.
    """
    on_gates = noise.channel != READOUT_ERROR
    channel = noise.channel if on_gates else "depolarizing"
    placement = noise.placement if on_gates else PLACEMENTS[0]
    mixture = build(model, features, classes)
    assert isinstance(mixture.router, QuantumRouter)
    readout = Config.from_flat(model).model.readout
    mixture.router = NoisyQuantumRouter(mixture.router, readout, Noise(channel, 0.0, placement))
    return mixture


def expose(parameters: Parameters, noise: Noisy, seeds: int) -> Parameters:
    """Return the parameters of S noiseless models under each of E strengths.

    Returns:
        Parameters of ``noisy_model``, E·S replicas; replica e·S + s is s under strength e.
    """
    copies = {
        name: values.repeat(len(noise.strengths), *[1] * (values.dim() - 1))
        for name, values in parameters.items()
    }
    return copies | levels(noise, seeds)


def levels(noise: Noisy, seeds: int) -> Parameters:
    """Return the strengths of E·S replicas as their parameters."""
    level = torch.tensor(noise.strengths, dtype=torch.float32).repeat_interleave(seeds)
    none = torch.zeros_like(level)
    on_gates, on_bits = (none, level) if noise.channel == READOUT_ERROR else (level, none)
    return {"router.strength": on_gates, "router.readout_error": on_bits}


def accuracy_with_shots(
    model: Mixture,
    parameters: Parameters,
    samples: Samples,
    shots: int,
    seed: int,
    streams: Sequence[int],
) -> Tensor:
    """Return the accuracy when each sample's weights are frequencies of ``shots`` measurements.

    Outcomes are drawn from the exact probabilities of the experts, noise included; every replica
    and sample has its own.

    Args:
        model: A mixture whose router's weights are probabilities of outcomes.
        parameters: Of E·S replicas, strength first.
        samples: Of the replicas.
        shots: Measurements per sample.
        seed: Keys the outcomes, together with ``shots`` and the replica's stream.
        streams: The S seeds.

    Returns:
        Shape ``(E·S,)``.
    """
    prefix = "experts."
    own = {n.removeprefix(prefix): v for n, v in parameters.items() if n.startswith(prefix)}
    with torch.no_grad():
        exact = routing_weights(model, parameters, samples.x).double().clamp(min=0)
        outputs = apply(model.experts, own, samples.x).double()  # (E·S, M, N, C)
    by_seed = (exact / exact.sum(-1, keepdim=True)).unflatten(0, (-1, len(streams))).numpy()
    drawn = [
        rng.generator(seed, f"shots/{shots}", stream).multinomial(shots, by_seed[:, s]) / shots
        for s, stream in enumerate(streams)
    ]
    weights = torch.from_numpy(np.stack(drawn, 1)).flatten(0, 1)  # (E·S, M, N)
    predicted = (weights.unsqueeze(-2) @ outputs).squeeze(-2).argmax(-1)
    return ((predicted == samples.y) & samples.mask).sum(1) / samples.counts
