"""Rows to tables, and how numbers read in them."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from textwrap import fill

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from qmoe_fed.experiments.statistics import Array, mean_interval, run_interval
from qmoe_fed.results.progress import say
from qmoe_fed.results.tables import WIDTH, print_table

Show = Callable[[pd.DataFrame], str]
"""Takes the rows of one group and returns the text of a cell."""

NONE = "–"


@dataclass(frozen=True)
class Table:
    """A table of text, the first ``texts`` columns flush left, the others numbers."""

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""
    texts: int = 1

    def print(self) -> None:
        """Print it to the terminal."""
        if self.rows:
            print_table(self.title, self.header, self.rows, range(self.texts))
        if self.note:
            say(fill(self.note, WIDTH))

    def markdown(self) -> str:
        """Return it as Markdown."""
        rule = ["---" if i < self.texts else "---:" for i in range(len(self.header))]
        rows = "\n".join(f"| {' | '.join(cells)} |" for cells in (self.header, rule, *self.rows))
        return f"### {self.title}\n\n{rows}\n" + (f"\n{self.note}\n" if self.note else "")


def table(
    title: str,
    frame: pd.DataFrame,
    by: Mapping[str, str],
    columns: Mapping[str, Show],
    note: str = "",
) -> Table:
    """Return a table with a row per group of rows, in the order in which groups first appear.

    Args:
        title: Of the table.
        frame: The rows.
        by: Columns of the frame that tell groups apart, by their heading.
        columns: What is shown of a group, by heading.
        note: Below the table: what the numbers mean.
    """
    groups = frame.groupby([*by.values()], sort=False) if len(frame) else ()
    rows = [
        [
            *(f"{name:g}" if isinstance(name, float) else f"{name}" for name in names),
            *(show(group) for show in columns.values()),
        ]
        for names, group in groups
    ]
    return Table(title, [*by, *columns], rows, note, len(by))


def only(frame: pd.DataFrame, **values: object) -> pd.DataFrame:
    """Return the rows that have these values; fractions up to rounding."""
    for column, value in values.items():
        close = isinstance(value, float)
        frame = frame[np.isclose(frame[column], value) if close else frame[column].eq(value)]
    return frame


def paired(frame: pd.DataFrame, other: pd.DataFrame, metric: str = "accuracy") -> Array:
    """Return by how much one exceeds the other, seed by seed: they saw the same samples.

    Raises:
        ValueError: They do not hold the same seeds, once each.
    """
    own, reference = (rows.set_index("seed")[metric] for rows in (frame, other))
    if own.index.has_duplicates or sorted(own.index) != sorted(reference.index):
        raise ValueError("a paired difference needs the same seeds on both sides, once each")
    return (own - reference.loc[own.index]).to_numpy(np.float64)


def first(column: str, form: str = "g") -> Show:
    """Return what shows a column that is the same in all rows."""
    return lambda frame: format(frame[column].iloc[0], form)


def mean(column: str, form: str, scale: float = 1) -> Show:
    """Return what shows the mean of a column; a dash for NaN."""

    def show(frame: pd.DataFrame) -> str:
        value = scale * frame[column].mean()
        return NONE if math.isnan(value) else format(value, form)

    return show


def over_seeds(metric: str = "accuracy", text: Callable[[Array], str] | None = None) -> Show:
    """Return what shows a metric over the seeds; by default in percent with its interval."""
    return lambda frame: (text or percent)(frame[metric].to_numpy(np.float64))


def percent(values: ArrayLike, run: bool = False, sign: str = "") -> str:
    """Return mean and half an interval of shares, in percent: of the mean, or of one more run."""
    interval = run_interval(values) if run else mean_interval(values)
    return f"{100 * interval.mean:{sign}.1f} ± {100 * interval.half:.1f}"


def difference(values: ArrayLike) -> str:
    """Return mean and half interval of differences of shares, in points."""
    return percent(values, sign="+")


def epochs(values: ArrayLike) -> str:
    """Return the median epoch and how many seeds have one if not all; NaN: never."""
    x = np.asarray(values, np.float64)
    reached = x[~np.isnan(x)]
    median = f"{np.median(reached):g}" if len(reached) else "never"
    return median if len(reached) == len(x) else f"{median} ({len(reached)}/{len(x)})"
