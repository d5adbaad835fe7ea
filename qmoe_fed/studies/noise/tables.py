"""The tables of the study, for the terminal and as Markdown."""

from collections.abc import Mapping, Sequence

from qmoe_fed.studies.models import LABELS
from qmoe_fed.studies.noise.measure import CLEAN, NOISY, TEST, Curve
from qmoe_fed.studies.noise.router import MEASUREMENT
from qmoe_fed.studies.noise.summary import breakdowns, training_pairs
from qmoe_fed.studies.report import Table, percent, points
from qmoe_fed.studies.statistics import Array, mean_interval

SHOWN = 0.0, 0.01, 0.02, 0.05, 0.1, 0.2
"""Strengths with a column, among those that were measured."""

PROTOCOLS = {CLEAN: "clean", NOISY: "noisy"}
"""In what was trained, for the names of rows."""


def accuracy_table(
    title: str, curves: Sequence[Curve], linear: Mapping[float, Array], rate: float
) -> Table:
    """Return the accuracy of curves fitted with one learning rate, by strength."""
    own = [curve for curve in curves if curve.learning_rate == rate]
    columns = [s for s in SHOWN if all(s in curve.strengths for curve in own)]
    rows = [(LABELS["linear"], *[percent(linear[rate])] * len(columns))]
    rows += [(name(curve), *(percent(curve.at(s)) for s in columns)) for curve in own]
    return Table(
        f"{title}, learning rate {rate:g}",
        ("at strength", *(f"{s:g}" for s in columns)),
        rows,
        "Test accuracy in % by strength of the noise: mean ± half its 95% confidence interval over "
        f"seeds (Student's t). {CONVENTION}",
    )


def breakdown_table(
    title: str, curves: Sequence[Curve], linear: Mapping[float, Array], seed: int
) -> Table:
    """Return where curves break down."""
    rows = []
    for curve in curves:
        both = breakdowns(curve, linear, seed)
        points = (at.text(curve.strengths[-1]) for at in (both.below_linear, both.loses))
        rows.append((name(curve), f"{curve.learning_rate:g}", *points))
    return Table(
        title,
        ("", "learning rate", "falls below A at", "10 points lost at"),
        rows,
        "Where the mean over seeds falls below that of Model A fitted with the same learning rate, "
        "and below what it is without noise less ten points; linear interpolation, 95% bootstrap "
        f"interval over seeds. {CONVENTION}",
    )


def gain_table(curves: Sequence[Curve]) -> Table:
    """Return what training under the noise is worth, by circuit, placement and learning rate."""
    pairs = training_pairs(curves)
    columns = [s for s in SHOWN if s and all(s in noisy.strengths for _, noisy in pairs)]
    rows = []
    for clean, noisy in pairs:
        gains = (points(mean_interval(noisy.at(s) - clean.at(s)), sign=True) for s in columns)
        rows.append((circuit(noisy), noisy.placement, f"{noisy.learning_rate:g}", *gains))
    return Table(
        "What training under depolarizing noise is worth (PennyLane's p)",
        ("", "placement", "learning rate", *(f"{s:g}" for s in columns)),
        rows,
        "Test accuracy trained under the noise less that trained without it, both tested under "
        "it, in points: mean ± half its 95% confidence interval, paired over seeds. "
        f"{CONVENTION}",
        texts=(0, 1),
    )


CONVENTION = "Depolarizing strengths are PennyLane's p: ⟨Z⟩ shrinks by 1 - 4p/3; Qiskit's λ = 4p/3."


def tables(curves: Sequence[Curve], linear: Mapping[float, Array], seed: int) -> list[Table]:
    """Return all tables of what was measured on test samples."""
    own = [c for c in curves if c.samples == TEST and c.model != "notebook"]
    own.sort(key=lambda c: (c.model != "quantum", c.protocol != CLEAN))
    groups = {
        "Depolarizing noise (PennyLane's p)": [
            c for c in own if c.channel == "depolarizing" and not c.shots
        ],
        "Other channels": [c for c in own if c.channel != "depolarizing"],
        "Finite shots, depolarizing noise after every gate (PennyLane's p)": [
            c for c in own if c.shots and c.placement == "gate"
        ],
    }
    return [
        *(accuracy_table(title, c, linear, rate) for title, c in groups.items() for rate in linear),
        *(
            breakdown_table(f"Breakdown: {title[0].lower()}{title[1:]}", c, linear, seed)
            for title, c in groups.items()
        ),
        gain_table(curves),
    ]


def name(curve: Curve) -> str:
    """Return what tells a curve from the others of its group."""
    what = [circuit(curve)]
    if curve.shots:
        what.append(f"{curve.shots} shots")
    elif curve.channel != "depolarizing":
        what = [curve.channel]
    if not curve.shots and curve.placement != MEASUREMENT:
        what.append(curve.placement)
    if curve.channel == "depolarizing":
        what.append(PROTOCOLS[curve.protocol])
    return ", ".join(what)


def circuit(curve: Curve) -> str:
    """Return the name of a curve's circuit."""
    return LABELS[curve.model].removeprefix("B: ").removeprefix("B, ")
