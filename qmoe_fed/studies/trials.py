"""One model on one dataset: fitted with all seeds and learning rates, tested once."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from qmoe_fed.data import Samples
from qmoe_fed.learning.replicas import apply, rows_of
from qmoe_fed.models import initial_parameters
from qmoe_fed.studies.datasets import Source, load
from qmoe_fed.studies.models import StudyModel, all_parameters, router_parameters
from qmoe_fed.studies.protocol import Fit, Protocol, fit
from qmoe_fed.studies.statistics import Array, accuracy, macro_f1

CHOSEN = "validation"
"""Setting in which the learning rate with the lowest mean validation loss is used."""

TARGET = 0.9
"""Validation accuracy whose first epoch is noted (paper, section VI-D)."""


@dataclass(frozen=True)
class Trial:
    """What is tried.

    Attributes:
        model: The model.
        source: The data.
        learning_rates: Tried side by side.
        reported: Those among them that are tested whatever validation says.
        protocol: How each is fitted.
    """

    model: StudyModel
    source: Source
    learning_rates: tuple[float, ...]
    reported: tuple[float, ...]
    protocol: Protocol


@dataclass(frozen=True, eq=False)
class Column:
    """One learning rate of a trial; every array has one row per seed.

    Attributes:
        learning_rate: The learning rate.
        accuracy: On the test samples, ``(K,)``.
        f1: Macro F1 on the test samples, ``(K,)``.
        best_epoch: Epoch whose parameters were kept, ``(K,)``.
        train_loss: By epoch, ``(K, E)``; NaN after a seed has stopped.
        validation_loss: Same shape.
        validation_accuracy: Same shape.
        parameters: Of the best epochs, ``(K, *shape)`` each.
    """

    learning_rate: float
    accuracy: Array
    f1: Array
    best_epoch: NDArray[np.int64]
    train_loss: Array
    validation_loss: Array
    validation_accuracy: Array
    parameters: dict[str, NDArray[np.float32]]

    @cached_property
    def epochs_to_target(self) -> Array:
        """First epoch with 90% validation accuracy, ``(K,)``; NaN for seeds that have none."""
        return first_epoch(self.validation_accuracy, TARGET)


@dataclass(frozen=True, eq=False)
class Outcome:
    """What came of a trial.

    Attributes:
        trial: What was tried.
        router_parameters: Number of parameters of the router.
        parameters: Number of all parameters.
        columns: By setting: a reported learning rate as text, or ``validation``.
        seconds: Time to fit all seeds with all learning rates.
    """

    trial: Trial
    router_parameters: int
    parameters: int
    columns: dict[str, Column]
    seconds: float

    @property
    def chosen(self) -> Column:
        """The learning rate that validation chose."""
        return self.columns[CHOSEN]


def run(trial: Trial) -> Outcome:
    """Fit a model with every learning rate and seed, and test what is reported.

    Raises:
        UserError: The data cannot be loaded.
    """
    data, seeds, rates = load(trial.source), trial.source.seeds, trial.learning_rates
    split, features = data.split, data.split.train.x.shape[-1]
    model = trial.model.build(features, data.classes)
    rows = torch.arange(seeds).repeat(len(rates))
    streams = rows.tolist()
    start = initial_parameters(
        lambda: trial.model.build(features, data.classes), trial.protocol.seed, streams
    )
    fitted = fit(
        model,
        start,
        split.train.select(rows),
        split.validation.select(rows),
        streams,
        torch.tensor(rates).repeat_interleave(seeds),
        trial.protocol,
    )
    best = int(fitted.best_loss.view(-1, seeds).mean(1).argmin())
    wanted = {f"{rate:g}": rates.index(rate) for rate in trial.reported} | {CHOSEN: best}
    tested = {
        i: _column(model, fitted, slice(i * seeds, (i + 1) * seeds), rates[i], split.test)
        for i in set(wanted.values())
    }
    return Outcome(
        trial,
        router_parameters(model),
        all_parameters(model),
        {setting: tested[i] for setting, i in wanted.items()},
        fitted.seconds,
    )


def _column(model: nn.Module, fitted: Fit, rows: slice, rate: float, test: Samples) -> Column:
    parameters = rows_of(fitted.parameters, rows)
    with torch.no_grad():
        # one after another: the features of a large router would not fit the memory for all
        outputs = apply(model, parameters, test.x, "serial")
    predicted, y = outputs.argmax(-1).numpy(), test.y.numpy()
    return Column(
        learning_rate=rate,
        accuracy=accuracy(predicted, y),
        f1=macro_f1(predicted, y, outputs.shape[-1]),
        best_epoch=fitted.best_epoch[rows].numpy(),
        train_loss=fitted.train_loss[rows].double().numpy(),
        validation_loss=fitted.validation_loss[rows].double().numpy(),
        validation_accuracy=fitted.validation_accuracy[rows].double().numpy(),
        parameters={name: values.numpy() for name, values in parameters.items()},
    )


def first_epoch(curve: Array, target: float) -> Array:
    """Return the first epoch, from 1, at which curves ``(K, E)`` reach a target; NaN for never."""
    reached = curve >= target
    return np.where(reached.any(1), reached.argmax(1) + 1.0, np.nan)
