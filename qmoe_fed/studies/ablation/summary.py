"""From outcomes to the lists in ``results.json``."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from qmoe_fed.studies.statistics import Interval, efficiency, mean_interval
from qmoe_fed.studies.trials import Column, Outcome

Record = dict[str, Any]

B = "quantum"
"""The model all others are compared with."""


def experts(outcome: Outcome) -> int:
    """Return the number of experts of a model; a single classifier is one."""
    config = outcome.trial.model.config
    return 1 if config is None else config.num_experts


def find(outcomes: Sequence[Outcome], name: str) -> Outcome:
    """Return the outcome of a model by its name."""
    return next(outcome for outcome in outcomes if outcome.trial.model.name == name)


def counterpart(outcomes: Sequence[Outcome], outcome: Outcome) -> Outcome:
    """Return Model B with the same number of experts; that with 2 for the single classifier."""
    number = max(2, experts(outcome))
    return find(outcomes, B if number == 2 else f"{B}-{number}")


def difference(column: Column, other: Column) -> Interval:
    """Return the mean over seeds of accuracy - other accuracy, paired: seeds share their data."""
    return mean_interval(column.accuracy - other.accuracy)


def models(outcomes: Sequence[Outcome]) -> list[Record]:
    """Return one summary per model and setting of the ablation."""
    return [
        {
            **describe(outcome, setting),
            "difference_to_b_mean": difference(own, reference).mean,
            "difference_to_b_ci95": pair(difference(own, reference)),
        }
        for outcome in outcomes
        for setting, own in outcome.columns.items()
        for reference in [counterpart(outcomes, outcome).columns[setting]]
    ]


def describe(outcome: Outcome, setting: str) -> Record:
    """Return what a model came to over its seeds in one setting."""
    own = outcome.columns[setting]
    accuracy, f1 = mean_interval(own.accuracy), mean_interval(own.f1)
    reached = own.epochs_to_target[~np.isnan(own.epochs_to_target)]
    return {
        "name": outcome.trial.model.name,
        "label": outcome.trial.model.label,
        "dataset": outcome.trial.source.name,
        "setting": setting,
        "learning_rate": own.learning_rate,
        "num_experts": experts(outcome),
        "seeds": len(own.accuracy),
        "router_parameters": outcome.router_parameters,
        "parameters": outcome.parameters,
        "accuracy_mean": accuracy.mean,
        "accuracy_ci95": pair(accuracy),
        "f1_mean": f1.mean,
        "f1_ci95": pair(f1),
        "eta": finite(efficiency(accuracy.mean, outcome.router_parameters)),
        "epochs_to_90": float(np.median(reached)) if len(reached) else None,
        "seeds_that_reach_90": len(reached),
        "seconds": outcome.seconds,
    }


def records(outcomes: Sequence[Outcome]) -> list[Record]:
    """Return one record per model, setting and seed."""
    return [
        {
            "name": outcome.trial.model.name,
            "dataset": outcome.trial.source.name,
            "setting": setting,
            "learning_rate": own.learning_rate,
            "seed": seed,
            "accuracy": float(own.accuracy[seed]),
            "f1": float(own.f1[seed]),
            "best_epoch": int(own.best_epoch[seed]),
            "epochs": int((~np.isnan(own.train_loss[seed])).sum()),
            "epochs_to_90": finite(float(own.epochs_to_target[seed])),
            "validation_loss": float(np.nanmin(own.validation_loss[seed])),
        }
        for outcome in outcomes
        for setting, own in outcome.columns.items()
        for seed in range(len(own.accuracy))
    ]


def pair(interval: Interval) -> list[float]:
    """Return the two ends of an interval."""
    return [interval.low, interval.high]


def finite(value: float) -> float | None:
    """Return a number, or None for NaN, which JSON does not know."""
    return None if math.isnan(value) else value
