"""Accuracy under noise of what was fitted, on the test samples of each seed."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch

from qmoe_fed.circuits.channels import CHANNELS, PLACEMENTS
from qmoe_fed.learning import evaluate
from qmoe_fed.models import Parameters
from qmoe_fed.studies.datasets import load
from qmoe_fed.studies.models import ablation_model
from qmoe_fed.studies.noise.fits import TRAINING_CHANNEL, Job, model_config, notebook_job, plan
from qmoe_fed.studies.noise.router import MEASUREMENT, READOUT_ERROR, expose, levels, noisy_model
from qmoe_fed.studies.noise.settings import Settings
from qmoe_fed.studies.noise.shots import accuracy_with_shots
from qmoe_fed.studies.statistics import Array

CLEAN, NOISY = "trained-clean", "trained-noisy"
"""Protocols: fitted without noise and tested under it, or fitted under the noise of the test."""

TEST, TRAINING = "test", "training"


@dataclass(frozen=True, eq=False)
class Curve:
    """Accuracy by strength of the noise.

    Attributes:
        model: A name in ``studies.models.ROUTERS``.
        learning_rate: It was fitted with.
        protocol: ``CLEAN`` or ``NOISY``.
        placement: Where the noise acts.
        channel: Which noise.
        shots: Measurements that each routing weight is estimated from; None for exact weights.
        samples: ``TEST`` or ``TRAINING``: what accuracy is measured on.
        strengths: Of the noise, E of them, ascending.
        accuracy: In [0, 1], shape ``(E, S)``, S seeds.
    """

    model: str
    learning_rate: float
    protocol: str
    placement: str
    channel: str
    shots: int | None
    samples: str
    strengths: tuple[float, ...]
    accuracy: Array

    @property
    def mean(self) -> Array:
        """Mean over seeds, ``(E,)``."""
        return self.accuracy.mean(1)

    def at(self, strength: float) -> Array:
        """Return the accuracy of every seed at one of the strengths, ``(S,)``."""
        row: Array = self.accuracy[int(np.argmin(np.abs(np.array(self.strengths) - strength)))]
        return row


@dataclass(frozen=True)
class _Test:
    """What one fit is measured under: exactly, and with each number of shots."""

    job: Job
    channel: str
    placement: str
    shots: tuple[int, ...] = ()
    samples: str = TEST


def _tests(settings: Settings) -> Iterator[_Test]:
    shots, main = tuple(settings.shots), TRAINING_CHANNEL
    for job in plan(settings):
        if job == notebook_job():
            yield _Test(job, main, job.placement)
            yield _Test(job, main, job.placement, samples=TRAINING)
        elif job.placement:
            yield _Test(job, main, job.placement, shots)
        elif job.model != "linear":
            for placement in PLACEMENTS:
                yield _Test(job, main, placement, shots)
        if job.model == "quantum" and not job.placement:
            for channel in sorted(CHANNELS.keys() - {main}):
                for placement in PLACEMENTS:
                    yield _Test(job, channel, placement)
            yield _Test(job, READOUT_ERROR, MEASUREMENT)


def linear_accuracy(settings: Settings, fitted: Mapping[Job, Parameters]) -> dict[float, Array]:
    """Return the test accuracy of Model A by learning rate, ``(S,)`` each; it knows no noise."""
    data = load(settings.source)
    test = data.split.test
    model = ablation_model("linear").build(test.x.shape[-1], data.classes)
    return {
        rate: evaluate(model, fitted[Job("linear", rate)], test).accuracy.double().numpy()
        for rate in settings.learning_rates
    }


def curves(settings: Settings, fitted: Mapping[Job, Parameters]) -> list[Curve]:
    """Return everything the study measures of quantum routers.

    Args:
        settings: Of the study.
        fitted: Noiseless parameters that each job of ``fits.plan`` left, strength first.
    """
    return [
        curve for test in _tests(settings) for curve in _measure(settings, test, fitted[test.job])
    ]


def _measure(settings: Settings, test: _Test, learnt: Parameters) -> Iterator[Curve]:
    data, seeds, seed = load(settings.source), settings.scope.seeds, settings.protocol.seed
    own = data.split.test if test.samples == TEST else data.split.train
    job, channel = test.job, test.channel
    config = model_config(job.model)
    model = noisy_model(config, channel, test.placement, own.x.shape[-1], data.classes)
    if job.placement:
        protocol, strengths = NOISY, job.strengths
        parameters = learnt | levels(channel, strengths, seeds)
    else:
        protocol, strengths = CLEAN, tuple(settings.strengths(channel))
        parameters = expose(learnt, channel, strengths)
    samples = own.select(torch.arange(seeds).repeat(len(strengths)))
    for shots in (None, *test.shots):
        if shots is None:
            accuracy = evaluate(model, parameters, samples).accuracy
        else:
            accuracy = accuracy_with_shots(model, parameters, samples, shots, seed, seeds)
        yield Curve(
            job.model,
            job.learning_rate,
            protocol,
            test.placement,
            channel,
            shots,
            test.samples,
            strengths,
            accuracy.double().numpy().reshape(len(strengths), seeds),
        )
