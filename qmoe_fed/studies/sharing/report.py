"""From records to means with intervals, tables and a verdict.

Intervals are those of the mean over seeds. Two ways of sharing are compared by the interval of
their difference seed by seed, for they saw the same clients and samples.
"""

from collections.abc import Sequence
from statistics import fmean

from qmoe_fed.results.summary import percent
from qmoe_fed.results.tables import print_table
from qmoe_fed.studies.sharing.grid import Cell
from qmoe_fed.studies.sharing.runs import Record
from qmoe_fed.studies.statistics import Interval, mean_interval

Outcomes = dict[Cell, list[Record]]
"""Records of each cell, in the order of their seeds."""

OURS = "router"


def by_cell(records: Sequence[Record]) -> Outcomes:
    """Return the records of each cell."""
    groups: Outcomes = {}
    for record in sorted(records, key=lambda record: record.job.seed):
        groups.setdefault(record.job.cell, []).append(record)
    return groups


def values(records: Sequence[Record], metric: str) -> list[float]:
    """Return one metric of several records."""
    return [float(getattr(record.outcome, metric)) for record in records]


def difference(outcomes: Outcomes, cell: Cell, other: str, metric: str) -> Interval:
    """Return by how much a cell is above the same task and router under another way of sharing."""
    ours = values(outcomes[cell], metric)
    theirs = values(outcomes[Cell(cell.task, cell.router, other)], metric)
    return mean_interval([a - b for a, b in zip(ours, theirs, strict=True)])


def sign_of(interval: Interval) -> int:
    """Return 1 or -1 if the whole interval is above or below zero, else 0."""
    return (interval.low > 0) - (interval.high < 0)


def in_percent(interval: Interval) -> str:
    """Return a mean share ± half the width of its interval, in percent."""
    return f"{100 * interval.mean:.1f} ± {100 * interval.half:.1f}"


def verdict(outcomes: Outcomes) -> list[str]:
    """Say where sharing the router wins and loses, as the intervals decide."""
    ours = [cell for cell in outcomes if cell.sharing == OURS]
    questions = [
        ("accuracy", "nothing", "accuracy, against sharing nothing (local only)"),
        ("accuracy", "everything", "accuracy, against sharing everything (FedAvg)"),
        ("accuracy", "random router", "accuracy, against a random router nobody trains"),
        ("unseen", "nothing", "unseen clients with 8 samples, against starting from nothing"),
    ]
    return [
        line
        for metric, other, question in questions
        for line in _answer(question, {c: difference(outcomes, c, other, metric) for c in ours})
    ]


def _answer(question: str, differences: dict[Cell, Interval]) -> list[str]:
    wins, ties, losses = (
        {cell: d for cell, d in differences.items() if sign_of(d) == sign} for sign in (1, 0, -1)
    )
    lines = [
        f"{question}: sharing the router wins in {len(wins)} of {len(differences)} cells, loses in "
        f"{len(losses)}, and {len(ties)} are within the interval."
    ]
    for what, cells in (("wins", wins), ("loses", losses)):
        if cells:
            places = "; ".join(
                f"{c.task} / {c.router} ({d.mean * 100:+.1f})" for c, d in cells.items()
            )
            lines.append(f"  {what}: {places}")
    return lines


def print_report(outcomes: Outcomes) -> None:
    """Print what every cell came to, task by task, and how unevenly each router routes."""
    for task in dict.fromkeys(cell.task for cell in outcomes):
        cells = [cell for cell in outcomes if cell.task == task]
        seeds = len(outcomes[cells[0]])
        print_table(
            f"{task}: accuracy, last round, mean ± 95% interval over {seeds} seeds",
            ("router, shared", "mean", "std", "worst 10%", "unseen, 8", "bytes up"),
            [(f"{cell.router}, {cell.sharing}", *_scores(outcomes[cell])) for cell in cells],
        )
    print_table(
        "Imbalance of the experts, router shared, means over seeds (bits; load; number)",
        ("task, router", "entropy", "I(expert; class)", "I(expert; client)", "max load", "dead"),
        [
            (f"{cell.task}, {cell.router}", *_imbalance(records))
            for cell, records in outcomes.items()
            if cell.sharing == OURS
        ],
    )


def _scores(records: Sequence[Record]) -> tuple[str, ...]:
    return (
        in_percent(mean_interval(values(records, "accuracy"))),
        percent(fmean(values(records, "std"))),
        percent(fmean(values(records, "worst10"))),
        in_percent(mean_interval(values(records, "unseen"))),
        f"{fmean(values(records, 'bytes_up')):,.0f}",
    )


def _imbalance(records: Sequence[Record]) -> tuple[str, ...]:
    names = ("entropy", "class_information", "client_information", "max_load")
    dead = fmean(values(records, "dead_experts"))
    return (*(f"{fmean(values(records, name)):.2f}" for name in names), f"{dead:.1f}")
