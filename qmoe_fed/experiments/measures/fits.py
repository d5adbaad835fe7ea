"""A model fitted with all seeds and learning rates, tested once for each rate that is reported."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from qmoe_fed.data import Samples
from qmoe_fed.experiments.cells import Measured
from qmoe_fed.experiments.datasets import Source, load
from qmoe_fed.experiments.models import Model, all_parameters, build, router_parameters
from qmoe_fed.experiments.protocol import Protocol, fit
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
        A row per learning rate and seed; ``accuracy`` and ``f1`` on the test samples are None where
        the rate is neither reported nor chosen, ``epochs_to_90`` is NaN for never. Arrays: for each
        tested rate its ``CURVES`` by epoch, ``(K, E)``, NaN after a seed has stopped; of the chosen
        rate the first seed's parameters.

    Raises:
        UserError: The data cannot be loaded.
    """
    data, seeds = load(source), source.seeds
    module = build(model, data.features, data.classes)
    rows, streams, by_rate = replicas(source, rates)
    start = initial_parameters(
        lambda: build(model, data.features, data.classes), protocol.seed, streams
    )
    train, validation = data.split.train.select(rows), data.split.validation.select(rows)
    fitted = fit(module, start, train, validation, streams, by_rate, protocol)
    chosen = int(fitted.best_loss.view(-1, seeds).mean(1).argmin())
    targets = first_epoch(fitted.validation_accuracy.double().numpy(), TARGET)
    measured = Measured([])
    for i, rate in enumerate(rates):
        own = slice(i * seeds, (i + 1) * seeds)
        scores: list[tuple[float | None, float | None]] = [(None, None)] * seeds
        if rate in reported or i == chosen:
            scores = [*_score(module, rows_of(fitted.parameters, own), data.split.test)]
            for name in CURVES:
                measured.arrays[f"{name}/{rate:g}"] = vars(fitted)[name][own].numpy()
        replicated = range(len(streams))[own]
        for (share, f1), seed, row in zip(scores, source.streams, replicated, strict=True):
            measured.rows.append(
                {
                    "rate": rate,
                    "seed": seed,
                    "chosen": i == chosen,
                    "accuracy": share,
                    "f1": f1,
                    "best_epoch": int(fitted.best_epoch[row]),
                    "epochs": int((~fitted.train_loss[row].isnan()).sum()),
                    "epochs_to_90": float(targets[row]),
                    "validation_loss": float(fitted.best_loss[row]),
                    "router_parameters": router_parameters(module),
                    "parameters": all_parameters(module),
                }
            )
    for name, values in fitted.parameters.items():
        measured.arrays[f"parameters/{name}"] = values[chosen * seeds].numpy()
    return measured


def replicas(source: Source, rates: Sequence[float]) -> tuple[Tensor, list[int], Tensor]:
    """Return the row of the data, the seed and the learning rate of each replica, rate by rate."""
    rows = torch.arange(source.seeds).repeat(len(rates))
    streams = [source.streams[row] for row in rows.tolist()]
    return rows, streams, torch.tensor(rates).repeat_interleave(source.seeds)


def _score(module: nn.Module, parameters: Parameters, test: Samples) -> "zip[tuple[float, float]]":
    """Return accuracy and macro F1 of every seed on its test samples."""
    with torch.no_grad():
        # one after another: the features of a large router would not fit the memory for all
        outputs = apply(module, parameters, test.x, "serial")
    predicted, y = outputs.argmax(-1).numpy(), test.y.numpy()
    scores = accuracy(predicted, y), macro_f1(predicted, y, outputs.shape[-1])
    return zip(*(own.tolist() for own in scores), strict=True)
