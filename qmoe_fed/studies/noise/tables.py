"""The tables of the study, for the terminal and as Markdown."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from qmoe_fed.studies.models import LABELS
from qmoe_fed.studies.noise.measure import CLEAN, TEST, Curve
from qmoe_fed.studies.noise.summary import breakdowns
from qmoe_fed.studies.statistics import Array, mean_interval, run_interval

SHOWN = 0.0, 0.01, 0.02, 0.03, 0.05, 0.1, 0.2
"""Strengths with a column, among those that were measured."""

PROTOCOLS = {CLEAN: "clean", "trained-noisy": "under noise"}


@dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
        title: Stands above it.
        header: Names of the columns.
        rows: The cells.
        note: What the reader must know.
    """

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str

    def markdown(self) -> str:
        """Return it with its title as a section."""
        align = ["---", *["---:"] * (len(self.header) - 1)]
        lines = ["| " + " | ".join(cells) + " |" for cells in (self.header, align, *self.rows)]
        return "\n".join([f"## {self.title}", "", *lines, "", self.note, ""])


def percent(values: Array, run: bool = False) -> str:
    """Return mean and half an interval in %: of the mean, or of one more ``run``."""
    interval = run_interval(values) if run else mean_interval(values)
    return f"{100 * interval.mean:.1f} ± {100 * interval.half:.1f}"


def curve_tables(curves: Sequence[Curve], linear: Mapping[float, Array], seed: int) -> list[Table]:
    """Return a table per learning rate for each of: placements, channels, shots."""
    tables = []
    for rate in linear:
        own = [c for c in curves if c.learning_rate == rate and c.samples == TEST]
        own = [c for c in own if c.model != "notebook"]
        exact = [c for c in own if c.shots is None]
        at = f"learning rate {rate:g}"
        main = [c for c in exact if c.channel == "depolarizing"]
        clean = [c for c in exact if c.protocol == CLEAN and c.model == "quantum"]
        sampled = [c for c in own if c.placement == "gate" and c.model == "quantum"]
        sampled = [c for c in sampled if c.channel == "depolarizing"]
        tables += [
            _table(f"Depolarizing noise, {at}", main, linear[rate], linear, seed),
            _table(f"Other channels, {at}", clean, linear[rate], linear, seed),
            _table(f"Finite shots, {at}", sampled, linear[rate], linear, seed),
        ]
    return tables


def _table(
    title: str,
    curves: Sequence[Curve],
    base: Array,
    linear: Mapping[float, Array],
    seed: int,
) -> Table:
    columns = [s for s in SHOWN if all(s in curve.strengths for curve in curves)]
    rows = [[LABELS["linear"], "", *[percent(base)] * len(columns), "", ""]]
    for curve in curves:
        both = breakdowns(curve, linear, seed)
        largest = curve.strengths[-1]
        rows.append(
            [
                _name(curve),
                PROTOCOLS[curve.protocol],
                *(percent(curve.at(s)) for s in columns),
                both.below_linear.text(largest),
                both.loses.text(largest),
            ]
        )
    header = ["", "trained", *(f"{s:g}" for s in columns), "below A at", "10 points lost at"]
    return Table(title, header, rows, NOTE)


NOTE = (
    "Test accuracy in % by strength of the noise: mean ± half its 95% confidence interval over "
    "seeds (Student's t). Breakdown points: mean over seeds, linearly interpolated, with 95% bootstrap "
    "interval over seeds. Depolarizing strengths are PennyLane's p: ⟨Z⟩ shrinks by 1 - 4p/3; "
    "Qiskit's λ = 4p/3."
)


def _name(curve: Curve) -> str:
    shots = f", {curve.shots} shots" if curve.shots else ""
    where = "" if curve.channel == "readout-error" else f", {curve.placement}"
    return f"{LABELS[curve.model]}, {curve.channel}{where}{shots}"
