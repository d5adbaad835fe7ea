"""Rows to tables, and how numbers read in them."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from textwrap import fill

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from qmoe_fed.experiments.statistics import Array, Interval, mean_interval, run_interval
from qmoe_fed.results.progress import say
from qmoe_fed.results.tables import WIDTH, print_table

Show = Callable[[pd.DataFrame], str]
"""Takes the rows of one group and returns the text of a cell."""

NONE = "–"


@dataclass(frozen=True)
class Table:
    """A table of text.

    Attributes:
        title: Stands above it.
        header: Names of the columns.
        rows: The cells, of one or more lines.
        note: Stands below it: what the numbers mean.
        texts: Number of columns on the left that hold text, not numbers.
    """

    title: str
    header: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
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
        rule = ("---" if i < self.texts else "---:" for i in range(len(self.header)))
        lines = [self.header, tuple(rule), *self.rows]
        table = "\n".join(f"| {' | '.join(cells)} |".replace("\n", "<br>") for cells in lines)
        return f"### {self.title}\n\n{table}\n" + (f"\n{self.note}\n" if self.note else "")


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
        note: Below the table.
    """
    rows = []
    if len(frame):
        for names, group in frame.groupby([*by.values()], sort=False, dropna=False):
            shown = (f"{name:g}" if isinstance(name, float) else f"{name}" for name in names)
            rows.append((*shown, *(show(group) for show in columns.values())))
    return Table(title, (*by, *columns), rows, note, len(by))


def only(frame: pd.DataFrame, **values: object) -> pd.DataFrame:
    """Return the rows that have these values."""
    for column, value in values.items():
        frame = frame[frame[column] == value]
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


def points(interval: Interval, sign: bool = False) -> str:
    """Return a share in percent, or a difference of shares in points, with its interval."""
    return f"{100 * interval.mean:{'+' if sign else ''}.1f} ± {100 * interval.half:.1f}"


def percent(values: ArrayLike, run: bool = False) -> str:
    """Return mean and half an interval of shares, in percent: of the mean, or of one more run."""
    return points(run_interval(values) if run else mean_interval(values))


def difference(values: ArrayLike) -> str:
    """Return mean and half interval of differences of shares, in points."""
    return points(mean_interval(values), sign=True)


def epochs(values: ArrayLike) -> str:
    """Return the median epoch and how many seeds have one if not all; NaN: never."""
    x = np.asarray(values, np.float64)
    reached = x[~np.isnan(x)]
    median = f"{np.median(reached):g}" if len(reached) else "never"
    return median if len(reached) == len(x) else f"{median} ({len(reached)}/{len(x)})"


def number(value: float, form: str = ".3f") -> str:
    """Return a number; a dash for NaN."""
    return NONE if math.isnan(value) else f"{value:{form}}"
