"""A model fitted without noise or under it, and its accuracy under noise, exact or from shots."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from qmoe_fed import rng
from qmoe_fed.data import Samples
from qmoe_fed.experiments.cells import Measured, Row, to_rows
from qmoe_fed.experiments.datasets import Source, load
from qmoe_fed.experiments.measures.fits import fit_all
from qmoe_fed.experiments.models import Model, all_parameters, build
from qmoe_fed.experiments.protocol import Protocol
from qmoe_fed.learning import evaluate
from qmoe_fed.learning.replicas import apply
from qmoe_fed.learning.routing import routing_weights
from qmoe_fed.models import Mixture, Parameters

READOUT_ERROR = "readout-error"  # the channel that flips measured bits, and leaves gates alone
MEASUREMENT = "measurement"  # where it acts, beside the placements of the channels on gates
TEST, TRAINING = "test", "training"
STRENGTHS = ".strengths"


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

    def on(self, model: Model) -> Model:
        """Return the settings of a model under it; the strength is one of each replica."""
        if self.channel == READOUT_ERROR:
            return {**model, "readout-error": "uniform(0, 1)"}
        about = {"noise-channel": self.channel, "noise-placement": self.placement}
        return {**model, **about, "noise-strength": "uniform(0, 1)"}

    def expose(self, parameters: Parameters, seeds: int) -> Parameters:
        """Return the parameters of S noiseless replicas, or of E·S, under each of E strengths.

        Replica e·S + s of the E·S is s under strength e.
        """
        level = torch.tensor(self.strengths, dtype=torch.float32).repeat_interleave(seeds)
        repeats = {name: len(level) // len(values) for name, values in parameters.items()}
        copies = {n: v.repeat(repeats[n], *[1] * (v.dim() - 1)) for n, v in parameters.items()}
        circuits = [name.removesuffix(".theta") for name in copies if name.endswith(".theta")]
        return {**copies, **{part + STRENGTHS: level[:, None] for part in circuits}}


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
        A row per test, number of shots (0: exact), strength and seed. Without tests a row per
        seed, with its accuracy on the test samples.
    """
    data, seeds = load(source), source.seeds
    learnt = noisy_fit(model, rate, source, protocol, trained)
    if not tests:
        module = build(model, data.features, data.classes)
        accuracy = evaluate(module, learnt, data.test).accuracy.double().numpy()
        columns = {"seed": source.streams, "parameters": all_parameters(module)}
        return Measured(to_rows({**columns, "accuracy": accuracy}))
    rows: list[Row] = []
    for test in tests:
        module = build(test.on(model), data.features, data.classes)
        parameters = test.expose(learnt, seeds)
        own = data.test if test.samples == TEST else data.train
        samples = own.select(torch.arange(seeds).repeat(len(test.strengths)))
        for shots in (0, *test.shots):
            columns = {
                "channel": test.channel,
                "placement": test.placement,
                "samples": test.samples,
                "shots": shots,
                "strength": np.repeat(test.strengths, seeds),
                "seed": [*source.streams] * len(test.strengths),
            }
            if shots:
                keys = shots, protocol.seed, source.streams
                found = accuracy_with_shots(module, parameters, samples, *keys)
            else:
                found = evaluate(module, parameters, samples).accuracy
            scores = {"accuracy": found.double().numpy(), "parameters": all_parameters(module)}
            rows += to_rows({**columns, **scores})
    return Measured(rows)


def noisy_fit(
    model: Model, rate: float, source: Source, protocol: Protocol, trained: Noisy | None
) -> Parameters:
    """Return the fitted parameters, without noise, of S or E·S replicas, strength first."""
    if not trained:
        return fit_all(model, source, [rate], protocol)[1].parameters
    rates, expose = [rate] * len(trained.strengths), partial(trained.expose, seeds=source.seeds)
    _, fitted = fit_all(trained.on(model), source, rates, protocol, expose)
    return {
        name: values for name, values in fitted.parameters.items() if not name.endswith(STRENGTHS)
    }


def accuracy_with_shots(
    model: Mixture,
    parameters: Parameters,
    samples: Samples,
    shots: int,
    seed: int,
    streams: Sequence[int],
) -> Tensor:
    """Return the accuracy, ``(E·S,)``, if a sample's weights are frequencies of ``shots`` outcomes.

    Outcomes are drawn from the exact probabilities of the experts, noise included; every replica
    and sample has its own, keyed by the seed, ``shots`` and which of the S streams it belongs to.
    Parameters and samples are those of E·S replicas, strength first.
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
