"""Rows to tables, as a study's TOML file describes them, and how numbers read in them."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from textwrap import fill
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from qmoe_fed.config.settings import Scalar
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
    printed: bool = True

    def print(self) -> None:
        """Print it to the terminal, if it is to be printed."""
        if self.rows and self.printed:
            print_table(self.title, self.header, self.rows, range(self.texts))
            say(fill(self.note, WIDTH))

    def markdown(self) -> str:
        """Return it as Markdown."""
        rule = ["---" if i < self.texts else "---:" for i in range(len(self.header))]
        rows = "\n".join(f"| {' | '.join(cells)} |" for cells in (self.header, rule, *self.rows))
        return f"### {self.title}\n\n{rows}\n" + (f"\n{self.note}\n" if self.note else "")


@dataclass(frozen=True)
class Column:
    """What a table shows of each group of rows.

    Attributes:
        name: Heading.
        show: ``percent``, ``difference``, ``mean``, ``interval``, ``first``, ``epochs``, or one of
            the study's.
        of: Column of the rows that is shown.
        form: Format of ``mean``, ``interval`` and ``first``.
        rows: Values that the rows have which count.
        minus: Values in which the rows that are subtracted, seed by seed, differ from these.
        over: A column of the rows with a heading of its own for each of its ``values``.
        values: Those values, as far as they occur; none: all.
    """

    name: str = ""
    show: str = "percent"
    of: str = "accuracy"
    form: str = "g"
    rows: Mapping[str, Scalar] = field(default_factory=dict)
    minus: Mapping[str, Scalar] = field(default_factory=dict)
    over: str = ""
    values: Sequence[Scalar] = ()

    def spread(self, frame: pd.DataFrame) -> Iterator["Column"]:
        """Yield itself, or a column for each value of ``over``."""
        if not self.over:
            yield self
            return
        for value in self.values or frame[self.over].unique():
            own = {self.over: value}
            if len(only(frame, **own)):
                yield replace(self, name=self.name + word(value), rows={**self.rows, **own})

    def text(
        self,
        group: pd.DataFrame,
        frame: pd.DataFrame,
        about: Mapping[str, Scalar],
        shows: Mapping[str, Show],
    ) -> str:
        """Return the cell of a group, which is ``about`` some values, among all rows."""
        own, about = only(group, **self.rows), {**about, **self.rows}
        if own.empty:
            return NONE
        if self.show in shows:
            return shows[self.show](own)
        values = own[self.of]
        if self.minus:
            other = only(frame, **{**about, **self.minus})
            if self.minus.items() <= about.items() or other.empty:
                return NONE
            values = paired(own, other, self.of)
        if self.show in ("mean", "first"):
            value = values.mean() if self.show == "mean" else values.iloc[0]
            return NONE if value != value else format(value, self.form)
        if self.show == "interval":
            found = mean_interval(values)
            return f"{found.mean:{self.form}} ± {found.half:{self.form}}"
        text = {"percent": percent, "difference": difference, "epochs": epochs}[self.show](values)
        return text.replace(" ± ", "±") if self.over else text


def make_tables(
    described: Sequence[Mapping[str, Any]], frame: pd.DataFrame, **shows: Show
) -> list[Table]:
    """Return the tables that a study's TOML file describes.

    Args:
        described: For each its ``title``, ``note``, the values its ``rows`` have, the columns they
            are grouped ``by`` (by heading), its ``columns``, whether it is ``printed``; with
            ``sort`` a column the rows are ordered by; with ``each`` one whose values have tables of
            their own, named in the title.
        frame: All rows; a table without any is left out.
        shows: How else columns can be shown, by name.
    """
    found = []
    for about in described:
        rows, by = only(frame, **about.get("rows", {})), about["by"]
        if sort := about.get("sort"):
            rows = rows.sort_values(sort, kind="stable")
        parts = rows.groupby(about["each"], sort=False) if "each" in about else [("", rows)]
        for value, part in parts:
            if part.empty:
                continue
            columns = [c for given in about["columns"] for c in Column(**given).spread(part)]
            lines = []
            for names, group in part.groupby([*by.values()], sort=False):
                values = dict(zip(by.values(), names, strict=True))
                texts = [column.text(group, part, values, shows) for column in columns]
                if set(texts) != {NONE}:
                    lines.append([*map(word, names), *texts])
            title, header = about["title"].format(word(value)), [*by, *(c.name for c in columns)]
            note, printed = about.get("note", ""), about.get("printed", True)
            found.append(Table(title, header, lines, note, len(by), printed))
    return found


def only(frame: pd.DataFrame, **values: object) -> pd.DataFrame:
    """Return the rows that have these values; fractions up to rounding."""
    for column, value in values.items():
        own = frame[column]
        frame = frame[np.isclose(own, value) if isinstance(value, float) else own.eq(value)]
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


def word(value: object) -> str:
    """Return a value of a factor as it reads in headings."""
    return f"{value:g}" if isinstance(value, float) else f"{value}"


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
