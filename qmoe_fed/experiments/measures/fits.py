"""A model fitted with all seeds and learning rates, tested once for each rate that is reported."""

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import torch

from qmoe_fed.experiments.cells import Measured, to_rows
from qmoe_fed.experiments.datasets import Source, load
from qmoe_fed.experiments.models import Model, all_parameters, build, router_parameters, solved
from qmoe_fed.experiments.protocol import Fit, Protocol, fit
from qmoe_fed.experiments.statistics import accuracy, first_epoch, macro_f1
from qmoe_fed.learning.replicas import apply, rows_of
from qmoe_fed.learning.routing import ROUTER
from qmoe_fed.learning.solving import Solve
from qmoe_fed.models import Mixture, Parameters, initial_parameters

TARGET = 0.9
"""Validation accuracy whose first epoch is noted (paper, section VI-D)."""

CURVES = "train_loss", "validation_loss", "validation_accuracy"


def fits(
    model: Model,
    source: Source,
    rates: Sequence[float],
    reported: Sequence[float],
    protocol: Protocol,
) -> Measured:
    """Fit a model with every learning rate and seed, and test what is reported.

    Args:
        model: Settings of the model.
        source: The data.
        rates: Learning rates tried side by side; the one with the lowest mean validation loss is
            chosen.
        reported: Those among them that are tested whatever validation says.
        protocol: How each is fitted.

    Returns:
        A row per learning rate and seed; ``accuracy`` and ``f1`` on the test samples are NaN where
        the rate is neither reported nor chosen, ``epochs_to_90`` is NaN for never. Arrays: for each
        tested rate its ``CURVES`` by epoch, ``(K, E)``, NaN after a seed has stopped; of the chosen
        rate the first seed's parameters.

    Raises:
        UserError: The data cannot be loaded.
    """
    data, seeds = load(source), source.seeds
    module, fitted = fit_all(model, source, rates, protocol)
    chosen = int(fitted.best_loss.view(-1, seeds).mean(1).argmin())
    scores = np.full((2, len(rates), seeds), np.nan)
    arrays = {f"parameters/{n}": v[chosen * seeds].numpy() for n, v in fitted.parameters.items()}
    for i, rate in enumerate(rates):
        if rate in reported or i == chosen:
            own = slice(i * seeds, (i + 1) * seeds)
            with torch.no_grad():
                # one by one: the features of a large router would not fit the memory for all
                outputs = apply(module, rows_of(fitted.parameters, own), data.test.x, "serial")
            predicted, y = outputs.argmax(-1).numpy(), data.test.y.numpy()
            scores[:, i] = accuracy(predicted, y), macro_f1(predicted, y, data.classes)
            arrays |= {f"{name}/{rate:g}": vars(fitted)[name][own].numpy() for name in CURVES}
    columns = {
        "rate": np.repeat(rates, seeds),
        "seed": [*source.streams] * len(rates),
        "chosen": np.repeat(np.arange(len(rates)) == chosen, seeds),
        "accuracy": scores[0].ravel(),
        "f1": scores[1].ravel(),
        "best_epoch": fitted.best_epoch.numpy(),
        "epochs": (~fitted.train_loss.isnan()).sum(1).numpy(),
        "epochs_to_90": first_epoch(fitted.validation_accuracy.double().numpy(), TARGET),
        "validation_loss": fitted.best_loss.double().numpy(),
        "router_parameters": router_parameters(module),
        "parameters": all_parameters(module),
    }
    return Measured(to_rows(columns), arrays)


def fit_all(
    model: Model,
    source: Source,
    rates: Sequence[float],
    protocol: Protocol,
    begin: Callable[[Parameters], Parameters] = dict,
) -> tuple[Mixture, Fit]:
    """Fit a replica of a model with each learning rate and seed, rate by rate.

    ``begin`` turns initial parameters, which are fitted, into those to start from; what it adds
    stays as it is.
    """
    data = load(source)
    make = partial(build, model, data.features, data.classes)
    solve = solved(model, data.features, data.classes, protocol)
    return fit_made(make, source, rates, protocol, begin, solve)


def fit_made(
    make: Callable[[], Mixture],
    source: Source,
    rates: Sequence[float],
    protocol: Protocol,
    begin: Callable[[Parameters], Parameters] = dict,
    solve: Solve | None = None,
    trainable: str = "",
) -> tuple[Mixture, Fit]:
    """Fit a replica of a module with each learning rate and seed, as ``fit_all``.

    ``solve`` says how experts are solved, if they are. Of the parameters only those are fitted
    whose names begin with ``trainable``.
    """
    data, rows = load(source), torch.arange(source.seeds).repeat(len(rates))
    streams, by_rate = [*source.streams] * len(rates), torch.tensor(rates)
    fresh, module = initial_parameters(make, protocol.seed, streams), make()
    if solve:
        router = {name: values for name, values in fresh.items() if name.startswith(ROUTER)}
        fresh = {**router, **solve.initial(len(streams))}
    names = frozenset(name for name in fresh if name.startswith(trainable))
    samples = data.train.select(rows), data.validation.select(rows)
    each = streams, by_rate.repeat_interleave(source.seeds)
    return module, fit(module, begin(fresh), *samples, *each, protocol, names, solve)
