"""The tables of what was measured."""

import math
from collections.abc import Sequence

import numpy as np

from qmoe_fed.studies.ablation.gradients import Variance, decay_per_qubit
from qmoe_fed.studies.ablation.settings import EXPERTS, REPORTED
from qmoe_fed.studies.ablation.starts import STARTS, UNIFORM, Started
from qmoe_fed.studies.ablation.summary import counterpart, difference, experts
from qmoe_fed.studies.report import Table, points
from qmoe_fed.studies.statistics import Array, efficiency, mean_interval
from qmoe_fed.studies.trials import CHOSEN, Outcome

SETTINGS = (*(f"{rate:g}" for rate in REPORTED), CHOSEN)


def overview(outcomes: Sequence[Outcome], number: int) -> Table:
    """Return test accuracy by learning rate, of the models with a number of experts."""
    rows = [
        (
            outcome.trial.model.label,
            f"{outcome.router_parameters}",
            f"{outcome.parameters}",
            *(points(mean_interval(outcome.columns[s].accuracy)) for s in SETTINGS),
            f"{outcome.chosen.learning_rate:g}",
        )
        for outcome in with_experts(outcomes, number)
    ]
    rates = tuple(f"rate {rate:g}" for rate in REPORTED)
    return Table(
        f"Two Moons, {number} linear experts: test accuracy, %",
        ("model", "router", "all", *rates, "rate chosen", "it is"),
        rows,
        "Mean over seeds ± half its 95% confidence interval (Student's t). router, all: numbers of "
        "parameters. rate chosen: the learning rate with the lowest mean validation loss.",
    )


def details(outcomes: Sequence[Outcome], number: int, setting: str) -> Table:
    """Return all that is said of the models with a number of experts, in one setting."""
    rows = []
    for outcome in with_experts(outcomes, number):
        own, reference = outcome.columns[setting], counterpart(outcomes, outcome).columns[setting]
        mean = mean_interval(own.accuracy)
        rows.append(
            (
                outcome.trial.model.label,
                f"{own.learning_rate:g}",
                points(mean),
                points(mean_interval(own.f1)),
                eta(mean.mean, outcome.router_parameters),
                "–" if own is reference else points(difference(own, reference), sign=True),
                epochs(own.epochs_to_target),
                f"{outcome.seconds:.1f}",
            )
        )
    which = "chosen" if setting == CHOSEN else setting
    return Table(
        f"Two Moons, {number} linear experts, learning rate {which}",
        ("model", "rate", "accuracy, %", "macro F1, %", "η", "minus B", "to 90%", "seconds"),
        rows,
        "minus B: paired difference of accuracy to Model B, in points. to 90%: median epoch with "
        "that validation accuracy, and how many seeds have one if not all. seconds: for all seeds "
        "and all learning rates together.",
    )


def with_experts(outcomes: Sequence[Outcome], number: int) -> list[Outcome]:
    """Return the models with a number of experts; the single classifier goes with the fewest."""
    return [o for o in outcomes if max(experts(o), EXPERTS[0]) == number]


def efficiency_table(outcomes: Sequence[Outcome]) -> Table:
    """Return accuracy against router parameters for one dataset, by number of parameters."""
    rows = [
        (
            outcome.trial.model.name,
            f"{outcome.router_parameters}",
            f"{outcome.chosen.learning_rate:g}",
            points(mean := mean_interval(outcome.chosen.accuracy)),
            eta(mean.mean, outcome.router_parameters),
            f"{outcome.seconds:.1f}",
        )
        for outcome in sorted(outcomes, key=lambda o: o.router_parameters)
    ]
    trial, seeds = outcomes[0].trial, len(outcomes[0].chosen.accuracy)
    number = max(experts(outcome) for outcome in outcomes)
    return Table(
        f"Parameter efficiency: {trial.source.title}",
        ("router", "parameters", "rate", "accuracy, %", "η", "seconds"),
        rows,
        f"{number} linear experts; at most {trial.protocol.max_epochs} epochs; learning rate "
        f"chosen on validation samples; {seeds} seeds. {_telling(outcomes)}",
    )


def _telling(outcomes: Sequence[Outcome]) -> str:
    """Say whether a dataset tells routers apart."""
    alone = next(outcome for outcome in outcomes if not outcome.router_parameters)
    routed = [outcome for outcome in outcomes if outcome.router_parameters]
    better = sum(difference(outcome.chosen, alone.chosen).low > 0 for outcome in routed)
    means = [100 * outcome.chosen.accuracy.mean() for outcome in routed]
    return (
        f"Their means lie from {min(means):.1f} to {max(means):.1f}%, and {better} of "
        f"{len(routed)} are better than a single linear classifier."
    )


def gradient_table(variances: Sequence[Variance]) -> Table:
    """Return variances of gradients against qubits, and how they fall."""
    lines: dict[tuple[str, float, int], list[Variance]] = {}
    for v in variances:
        lines.setdefault((v.readout, v.init_angle, v.layers), []).append(v)
    qubits = sorted({v.qubits for v in variances})
    rows = [
        (
            readout,
            "π" if angle == math.pi else f"{angle:g}",
            f"{layers}",
            *(f"{v.value:.0e}" for v in line),
            f"{decay_per_qubit(qubits, [v.value for v in line]):.2f}",
        )
        for (readout, angle, layers), line in lines.items()
    ]
    return Table(
        "Variance of the gradient of the first angle",
        ("read", "angles ±", "layers", *(f"n = {n}" for n in qubits), "per qubit"),
        rows,
        "Over random inputs and parameters. per qubit: the factor b of the best fit bⁿ; well below "
        "1 is a barren plateau.",
    )


def starts_table(started: Sequence[Started]) -> Table:
    """Return what the ways to train change."""
    usual = {
        (s.start.qubits, s.start.layers, s.learning_rate): s
        for s in started
        if s.start.name == UNIFORM
    }
    rows = [
        (
            STARTS[s.start.name],
            f"{s.start.qubits}",
            f"{s.start.layers}",
            f"{s.learning_rate:g}",
            points(mean_interval(s.accuracy)),
            "–" if s is base else points(mean_interval(s.accuracy - base.accuracy), sign=True),
            epochs(s.epochs_to_target),
        )
        for s in started
        for base in [usual[s.start.qubits, s.start.layers, s.learning_rate]]
    ]
    return Table(
        "Ways to train the paper's circuit on Two Moons, 2 experts",
        ("training", "qubits", "layers", "rate", "accuracy, %", "change", "to 90%"),
        rows,
        "change: paired difference to the first way, in points.",
    )


def epochs(values: Array) -> str:
    """Return the median epoch and how many seeds have one."""
    reached = values[~np.isnan(values)]
    median = f"{np.median(reached):g}" if len(reached) else "never"
    return median if len(reached) == len(values) else f"{median} ({len(reached)}/{len(values)})"


def eta(accuracy: float, parameters: int) -> str:
    """Return η; a dash without parameters."""
    return f"{efficiency(accuracy, parameters):.3f}" if parameters else "–"
