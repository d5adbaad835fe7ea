"""A model fitted with all seeds and learning rates, tested once for each rate that is reported."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from qmoe_fed.data import Samples
from qmoe_fed.experiments.cells import Measured
from qmoe_fed.experiments.datasets import Dataset, Source, load
from qmoe_fed.experiments.models import Model, all_parameters, build, router_parameters
from qmoe_fed.experiments.protocol import Fit, Protocol, fit
from qmoe_fed.experiments.statistics import accuracy, first_epoch, macro_f1
from qmoe_fed.learning.replicas import apply, rows_of
from qmoe_fed.models import Parameters, initial_parameters

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
        A row per learning rate and seed: ``rate``, ``seed``, ``chosen``, ``accuracy`` and ``f1`` on
        the test samples (None where the rate is neither reported nor chosen), ``best_epoch``,
        ``epochs``, ``epochs_to_90`` (None for never), ``validation_loss``, and the model's numbers
        of parameters. Arrays: for each tested rate its ``CURVES`` by epoch, ``(K, E)``, NaN after a
        seed has stopped; of the chosen rate the first seed's parameters.

    Raises:
        UserError: The data cannot be loaded.
    """
    data, seeds = load(source), source.seeds
    module = build(model, data.features, data.classes)
    fitted = fit_all(model, data, source, rates, protocol)
    chosen = int(fitted.best_loss.view(-1, seeds).mean(1).argmin())
    sizes = router_parameters(module), all_parameters(module)
    measured = Measured([])
    for i, rate in enumerate(rates):
        own = slice(i * seeds, (i + 1) * seeds)
        tested = rate in reported or i == chosen
        scores = [None] * seeds, [None] * seeds
        if tested:
            scores = score(module, rows_of(fitted.parameters, own), data.split.test)
            for name in CURVES:
                measured.arrays[f"{name}/{rate:g}"] = getattr(fitted, name)[own].numpy()
        targets = first_epoch(fitted.validation_accuracy[own].double().numpy(), TARGET)
        for k, seed in enumerate(source.streams):
            row = i * seeds + k
            measured.rows.append(
                {
                    "rate": rate,
                    "seed": seed,
                    "chosen": i == chosen,
                    "accuracy": scores[0][k],
                    "f1": scores[1][k],
                    "best_epoch": int(fitted.best_epoch[row]),
                    "epochs": int((~fitted.train_loss[row].isnan()).sum()),
                    "epochs_to_90": float(targets[k]),
                    "validation_loss": float(fitted.best_loss[row]),
                    "router_parameters": sizes[0],
                    "parameters": sizes[1],
                }
            )
    for name, values in fitted.parameters.items():
        measured.arrays[f"parameters/{name}"] = values[chosen * seeds].numpy()
    return measured


def fit_all(
    model: Model, data: Dataset, source: Source, rates: Sequence[float], protocol: Protocol
) -> Fit:
    """Fit a model with every learning rate and seed: replicas rate by rate, seed by seed."""
    rows, streams, by_rate = replicas(source, rates)
    start = initial_parameters(
        lambda: build(model, data.features, data.classes), protocol.seed, streams
    )
    module = build(model, data.features, data.classes)
    train, validation = data.split.train.select(rows), data.split.validation.select(rows)
    return fit(module, start, train, validation, streams, by_rate, protocol)


def replicas(source: Source, rates: Sequence[float]) -> tuple[Tensor, list[int], Tensor]:
    """Return the row of the data, the seed and the learning rate of each replica."""
    rows = torch.arange(source.seeds).repeat(len(rates))
    streams = [source.streams[row] for row in rows.tolist()]
    return rows, streams, torch.tensor(rates).repeat_interleave(source.seeds)


def score(
    module: nn.Module, parameters: Parameters, test: Samples
) -> tuple[list[float | None], list[float | None]]:
    """Return accuracy and macro F1 of every seed on its test samples."""
    with torch.no_grad():
        # one after another: the features of a large router would not fit the memory for all
        outputs = apply(module, parameters, test.x, "serial")
    predicted, y = outputs.argmax(-1).numpy(), test.y.numpy()
    classes = outputs.shape[-1]
    return accuracy(predicted, y).tolist(), macro_f1(predicted, y, classes).tolist()
