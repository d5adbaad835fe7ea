"""The paper beside ours: every number it prints about Two Moons, and what became of it."""

from collections.abc import Callable, Sequence

import numpy as np

from qmoe_fed.studies.ablation import paper
from qmoe_fed.studies.ablation.lines import (
    FACTORS,
    NONE,
    Line,
    Values,
    by_case,
    compare_values,
    near,
    signed,
)
from qmoe_fed.studies.ablation.settings import EXPERTS
from qmoe_fed.studies.ablation.summary import find
from qmoe_fed.studies.ablation.tables import SETTINGS, epochs
from qmoe_fed.studies.ablation.verdicts import HIGHER, HOLDS, Case, compare, judge
from qmoe_fed.studies.report import percent
from qmoe_fed.studies.statistics import Array, Interval, efficiency, mean_interval, run_interval
from qmoe_fed.studies.trials import CHOSEN, Column, Outcome

NAMES = {"linear": "A, linear", "deep": "C, deep", "quantum": "B, quantum"}


def moons_lines(outcomes: Sequence[Outcome]) -> list[Line]:
    """Return the lines on the ablation itself (Table I and sections VI-A and VI-D)."""
    return [
        *(_accuracy(outcomes, name) for name in NAMES),
        _lead(outcomes),
        _notebook(outcomes),
        *(_parameters(outcomes, name) for name in NAMES),
        *(_eta(outcomes, name) for name in NAMES),
        _formula(),
        *(_epochs(outcomes, name) for name in paper.EPOCHS_TO_90),
        _faster(outcomes),
    ]


def readings(
    outcomes: Sequence[Outcome], name: str, read: Callable[[Outcome, Column], Array]
) -> dict[Case, Array]:
    """Return what is read of a model of the paper, by number of experts and learning rate."""
    return {
        (f"{number} experts", _rate(setting)): read(outcome, outcome.columns[setting])
        for number in EXPERTS
        for outcome in [find(outcomes, name if number == EXPERTS[0] else f"{name}-{number}")]
        for setting in SETTINGS
    }


def _rate(setting: str) -> str:
    return "rate chosen" if setting == CHOSEN else f"rate {setting}"


def _accuracy(outcomes: Sequence[Outcome], name: str) -> Line:
    claim = paper.ACCURACY[name]
    values = readings(outcomes, name, lambda _, own: own.accuracy)
    text = f"accuracy of {NAMES[name]}"
    return compare_values(text, (f"{claim:.0%}", NONE), values, percent, near(claim, 0.005))


def _lead(outcomes: Sequence[Outcome]) -> Line:
    claim = paper.ACCURACY["quantum"] - paper.ACCURACY["linear"]
    linear = readings(outcomes, "linear", lambda _, own: own.accuracy)
    quantum = readings(outcomes, "quantum", lambda _, own: own.accuracy)
    values = {case: quantum[case] - linear[case] for case in quantum}
    text = "lead of B over A, points"
    return compare_values(text, (f"{100 * claim:.0f}", NONE), values, signed, near(claim, 0.01))


def _notebook(outcomes: Sequence[Outcome]) -> Line:
    own = find(outcomes, "notebook").columns
    values: Values = {("2 experts", _rate(setting)): own[setting].accuracy for setting in SETTINGS}
    claim = paper.NOTEBOOK_QUANTUM
    text = "accuracy of B as in the notebooks"
    test = near(claim, 0.0005)
    return compare_values(text, (NONE, f"{claim:.1%}"), values, percent, test)


def _parameters(outcomes: Sequence[Outcome], name: str) -> Line:
    claim = paper.PARAMETERS[name]
    two, four = (find(outcomes, model).router_parameters for model in (name, f"{name}-4"))
    values: dict[Case, int] = {("2 experts",): two, ("4 experts",): four}
    factor, notebooks = FACTORS[0], NONE
    if name == "quantum":
        factor, notebooks = "circuit", f"{claim}"
        other = find(outcomes, "notebook").router_parameters
        values = {("the paper's, P = L·n",): two, ("the notebooks'",): other}
    findings = {case: compare(claim, 0, Interval(n, n, n)) for case, n in values.items()}
    verdict = judge(findings, (factor,))
    if name == "deep":
        verdict = "set by us: the width that comes nearest, for the paper names none"
    ours = by_case({case: f"{number}" for case, number in values.items()})
    return Line(f"router parameters of {NAMES[name]}", f"{claim}", notebooks, ours, verdict)


def _eta(outcomes: Sequence[Outcome], name: str) -> Line:
    claim = paper.ETA[name]

    def eta(outcome: Outcome, own: Column) -> Array:
        return own.accuracy * efficiency(1, outcome.router_parameters)

    values = readings(outcomes, name, eta)
    return compare_values(
        f"η of {NAMES[name]}",
        (f"{claim:.2f}", NONE),
        values,
        lambda x: f"{x.mean():.3f}",
        near(claim, 0.005),
    )


def _formula() -> Line:
    """Return what the paper's formula makes of the paper's own numbers."""
    by_formula = {name: efficiency(paper.ACCURACY[name], paper.PARAMETERS[name]) for name in NAMES}
    factors = [paper.ETA[name] / value for name, value in by_formula.items()]
    same = max(factors) / min(factors) < 1.01  # another base of the logarithm or per cent
    return Line(
        "η by the paper's formula from the paper's numbers: A, C, B",
        "\n".join(f"{paper.ETA[name]:.2f}" for name in NAMES),
        NONE,
        "\n".join(f"{value:.3f}" for value in by_formula.values()),
        "reproduced up to the base of the logarithm"
        if same
        else "not reproduced: in no base of the logarithm, the factors to the printed numbers are "
        + ", ".join(f"{factor:.1f}" for factor in factors),
    )


def _epochs(outcomes: Sequence[Outcome], name: str) -> Line:
    claim = paper.EPOCHS_TO_90[name]
    values = readings(outcomes, name, lambda _, own: own.epochs_to_target)

    def test(reached: Array) -> str:
        median = np.median(np.nan_to_num(reached, nan=np.inf))
        if name == "quantum":  # "within"
            return HOLDS if median <= claim else HIGHER
        known = reached[~np.isnan(reached)]
        return compare(claim, 0.5, run_interval(known)) if len(known) > 1 else HIGHER

    published = (f"within {claim}" if name == "quantum" else f"{claim}", NONE)
    return compare_values(f"epochs to 90%, {NAMES[name]}", published, values, epochs, test)


def _faster(outcomes: Sequence[Outcome]) -> Line:
    longest = outcomes[0].trial.protocol.max_epochs + 1

    def epoch(_: Outcome, own: Column) -> Array:
        return np.nan_to_num(own.epochs_to_target, nan=longest)

    deep = readings(outcomes, "deep", epoch)
    values = {case: own - deep[case] for case, own in readings(outcomes, "quantum", epoch).items()}

    def test(difference: Array) -> str:
        interval = mean_interval(difference)
        if interval.high < 0:
            return HOLDS
        return "ours is slower" if interval.low > 0 else "ours is no difference"

    def show(difference: Array) -> str:
        interval = mean_interval(difference)
        return f"{interval.mean:+.1f}±{interval.half:.1f}"

    gap = paper.EPOCHS_TO_90["quantum"] - paper.EPOCHS_TO_90["deep"]
    text = "epochs to 90%, B minus C (never: one more than the most)"
    return compare_values(text, (f"{gap}", NONE), values, show, test)
