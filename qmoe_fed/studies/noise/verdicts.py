"""What was published beside what comes out here, judged by the numbers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from qmoe_fed.circuits.channels import depolarizing_from_qiskit
from qmoe_fed.studies.ablation.verdicts import Case, compare, judge
from qmoe_fed.studies.models import LABELS
from qmoe_fed.studies.noise.breakdown import LOSS, Breakdown, first_below
from qmoe_fed.studies.noise.measure import CLEAN, NOISY, TEST, TRAINING, Curve
from qmoe_fed.studies.noise.published import BREAKDOWN, NOTEBOOK, TABLE_II, TABLE_II_LINEAR
from qmoe_fed.studies.noise.summary import breakdowns, training_pairs
from qmoe_fed.studies.report import Table, percent, points
from qmoe_fed.studies.statistics import Array, Interval, mean_interval, run_interval

FACTORS = "learning rate", "convention"
"""What the paper leaves open and a verdict may depend on."""

PERCENT, THOUSANDTH = 0.005, 0.0005
"""Half a unit of the last digit printed: of accuracies in %, and of others."""


@dataclass(frozen=True)
class Reading:
    """One way to understand the paper's Table II.

    Attributes:
        learning_rate: Models are fitted with.
        convention: Its error rate is PennyLane's ``p`` or Qiskit's ``λ``.
    """

    learning_rate: float
    convention: str

    @property
    def label(self) -> str:
        """Name of a column."""
        return f"lr {self.learning_rate:g}, {self.convention}"

    @property
    def case(self) -> Case:
        """Its values of ``FACTORS``."""
        return f"{self.learning_rate:g}", self.convention

    def strength(self, rate: float) -> float:
        """Return PennyLane's p for one of the paper's error rates."""
        return rate if self.convention == "p" else depolarizing_from_qiskit(rate)


def table_ii(
    curves: Sequence[Curve], linear: Mapping[float, Array], protocol: str, seed: int
) -> Table:
    """Return the paper's Table II beside ours under every reading, noise after every gate."""
    found = {curve.learning_rate: curve for curve in _main(curves, protocol)}
    readings = [Reading(rate, name) for rate in found for name in ("p", "λ")]
    at = {r: found[r.learning_rate] for r in readings}
    rows = [
        _row(f"accuracy at {rate:g}", accuracy, {r: at[r].at(r.strength(rate)) for r in readings})
        for rate, accuracy in TABLE_II.items()
    ]
    first, last = min(TABLE_II), max(TABLE_II)
    lost = {r: at[r].at(first) - at[r].at(r.strength(last)) for r in readings}
    rows.append(_row(f"points lost at {last:g}", TABLE_II[first] - TABLE_II[last], lost))
    base = {r: linear[r.learning_rate] for r in readings}
    rows.append(_row("Model A, any rate", TABLE_II_LINEAR, base))
    points = {r: breakdowns(at[r], linear, seed) for r in readings}
    largest = {r: at[r].strengths[-1] for r in readings}
    below = {r: both.below_linear for r, both in points.items()}
    rows.append(_point("below Model A at", BREAKDOWN, below, largest))
    printed = np.array([list(TABLE_II.values())])
    ten = float(first_below(list(TABLE_II), printed, printed[:, 0] - LOSS)[0])
    loses = {r: both.loses for r, both in points.items()}
    rows.append(_point("ten points lost at", ten, loses, largest))
    kind = {CLEAN: "trained without noise", NOISY: "trained under the noise"}[protocol]
    return Table(
        f"Paper's Table II beside ours, {kind}",
        ("depolarizing after every gate", "paper", *(r.label for r in readings), "verdict"),
        rows,
        "The paper's error rate read as PennyLane's p (⟨Z⟩ × (1 - 4p/3)) or as Qiskit's λ "
        "(⟨Z⟩ × (1 - λ), p = 3λ/4); breakdown points are in the unit of their column. Accuracies "
        "and points in %: mean ± half the 95% prediction interval of one more run, which is what "
        "a number printed without a spread is. A number is reproduced if it lies in that "
        "interval, a breakdown point if it lies in its bootstrap interval.",
    )


def notebook_table(curves: Sequence[Curve]) -> Table:
    """Return the numbers of the authors' notebook on noise beside ours."""
    ours = {curve.samples: curve for curve in curves if curve.model == "notebook"}
    rows = []
    for p, accuracy in NOTEBOOK.items():
        interval = run_interval(ours[TRAINING].at(p))
        verdict = judge({(): compare(accuracy, THOUSANDTH, interval)}, ())
        cells = percent(ours[TRAINING].at(p), run=True), percent(ours[TEST].at(p), run=True)
        rows.append((f"{p:g}", f"{100 * accuracy:.1f}", *cells, verdict))
    return Table(
        "The notebook on noise beside ours, trained under the noise",
        ("depolarizing p (PennyLane)", "notebook, training", "ours, training", "test", "verdict"),
        rows,
        "Their circuit, their placement (each wire after the embedding and at the end), learning "
        "rate 0.05, 20 epochs. Accuracy in %; ours: mean ± half the 95% prediction interval of one "
        "more run, by which the number for the training samples is judged.",
    )


def conclusions(curves: Sequence[Curve], tables: Mapping[str, Table]) -> list[str]:
    """Return what comes out of the study, in words.

    Args:
        curves: Of the study.
        tables: Those of ``table_ii``, by protocol.
    """
    lines = []
    clean, noisy = (tables[protocol].rows for protocol in (CLEAN, NOISY))
    for without, under in zip(clean, noisy, strict=True):
        lines.append(
            f"Table II, {without[0]}, paper {without[1]}. Trained without noise: {without[-1]}. "
            f"Trained under the noise: {under[-1]}."
        )
    for before, after in training_pairs(curves):
        if after.placement == "gate":
            gains = ", ".join(
                f"{points(mean_interval(after.at(p) - before.at(p)), sign=True)} at p = {p:g}"
                for p in (max(TABLE_II), after.strengths[-1])
            )
            lines.append(
                f"{LABELS[after.model]}, learning rate {after.learning_rate:g}, noise after every "
                f"gate: training under it is worth, in points, {gains} (PennyLane)."
            )
    return lines


def _main(curves: Sequence[Curve], protocol: str) -> list[Curve]:
    """Return the curves of the paper's circuit, depolarizing after every gate, exact weights."""
    wanted = "quantum", protocol, "gate", "depolarizing", None
    return [c for c in curves if (c.model, c.protocol, c.placement, c.channel, c.shots) == wanted]


def _row(name: str, printed: float, ours: Mapping[Reading, Array]) -> tuple[str, ...]:
    cells = (percent(values, run=True) for values in ours.values())
    found: dict[Case, str] = {
        r.case: compare(printed, PERCENT, run_interval(v)) for r, v in ours.items()
    }
    return name, f"{100 * printed:.0f}", *cells, judge(found, FACTORS)


def _point(
    name: str, printed: float, ours: Mapping[Reading, Breakdown], largest: Mapping[Reading, float]
) -> tuple[str, ...]:
    """Return a row of breakdown points in the unit of the reading; they reach up to ``largest``."""
    units = {r: 1 / r.strength(1.0) for r in ours}
    cells = (at.scaled(units[r]).text(largest[r] * units[r]) for r, at in ours.items())
    found: dict[Case, str] = {}
    for r, at in ours.items():
        own = at.scaled(units[r])
        found[r.case] = compare(printed, THOUSANDTH, Interval(own.strength, own.low, own.high))
    return name, f"{printed:.3f}", *cells, judge(found, FACTORS)
