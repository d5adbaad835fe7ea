"""Which models the study fits: each with all seeds, and all strengths of the noise, at once."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from qmoe_fed.circuits.channels import PLACEMENTS
from qmoe_fed.config import ModelConfig
from qmoe_fed.models import initial_parameters
from qmoe_fed.studies.datasets import load
from qmoe_fed.studies.models import ablation_model
from qmoe_fed.studies.noise.published import NOTEBOOK, NOTEBOOK_EPOCHS, NOTEBOOK_LEARNING_RATE
from qmoe_fed.studies.noise.router import expose, noisy_model
from qmoe_fed.studies.noise.settings import Settings
from qmoe_fed.studies.protocol import fit

TRAINING_CHANNEL = "depolarizing"
"""The channel under which models are trained."""

CIRCUITS = "quantum", "reuploading"
"""Names of the models that are trained without noise and under it: the paper's and its rival."""


@dataclass(frozen=True)
class Job:
    """A model to fit with all seeds.

    Attributes:
        model: A name in ``studies.models.ROUTERS``.
        learning_rate: Adam's.
        placement: Where the noise acts while it is trained; empty for training without noise.
        strengths: Of the noise it is trained under; each has its own replicas.
    """

    model: str
    learning_rate: float
    placement: str = ""
    strengths: tuple[float, ...] = (0.0,)


def plan(settings: Settings) -> list[Job]:
    """Return all fits of the study, the longest first."""
    strengths = tuple(settings.strengths(TRAINING_CHANNEL))
    noisy = [
        Job(model, rate, placement, strengths)
        for model in reversed(CIRCUITS)
        for rate in settings.learning_rates
        for placement in PLACEMENTS
    ]
    clean = [
        Job(model, rate)
        for model in (*reversed(CIRCUITS), "linear")
        for rate in settings.learning_rates
    ]
    return [*noisy, notebook_job(), *clean]


def notebook_job() -> Job:
    """Return the fit that the authors' notebook on noise makes."""
    return Job("notebook", NOTEBOOK_LEARNING_RATE, "notebook", tuple(NOTEBOOK))


def run(job: Job, settings: Settings) -> dict[str, NDArray[np.float32]]:
    """Fit a model and return its parameters, those without noise of E·S replicas, strength first.

    Validation is under the noise of training. The notebook's fit has its own number of epochs.
    """
    split, classes = load(settings.source).split, load(settings.source).classes
    features = split.train.x.shape[-1]
    clean = ablation_model(job.model)
    seeds = range(settings.scope.seeds)
    start = initial_parameters(
        lambda: clean.build(features, classes), settings.protocol.seed, seeds
    )
    learnt = frozenset(start)
    model: nn.Module
    if job.placement:
        config = model_config(job.model)
        model = noisy_model(config, TRAINING_CHANNEL, job.placement, features, classes)
        start = expose(start, TRAINING_CHANNEL, job.strengths)
    else:
        model = clean.build(features, classes)
    protocol = settings.protocol
    if job == notebook_job():
        protocol = replace(protocol, max_epochs=min(NOTEBOOK_EPOCHS, protocol.max_epochs))
    streams = [*seeds] * len(job.strengths)
    rows = torch.tensor(streams)
    fitted = fit(
        model,
        start,
        split.train.select(rows),
        split.validation.select(rows),
        streams,
        torch.full((len(streams),), job.learning_rate),
        protocol,
        learnt,
    )
    return {name: fitted.parameters[name].numpy() for name in learnt}


def model_config(name: str) -> ModelConfig:
    """Return the mixture of a model of the ablation, with its two experts."""
    config = ablation_model(name).config
    assert config is not None
    return config
