"""Tables that are printed and written down alike, and how numbers read in them."""

from collections.abc import Sequence
from dataclasses import dataclass
from textwrap import fill

from qmoe_fed.results.progress import say
from qmoe_fed.results.tables import WIDTH, print_table
from qmoe_fed.studies.statistics import Array, Interval, mean_interval, run_interval


@dataclass(frozen=True)
class Table:
    """A table of text.

    Attributes:
        title: Stands above it.
        header: Names of the columns.
        rows: The cells, of one or more lines.
        note: Stands below it: what the numbers mean.
        texts: Columns that hold text, not numbers.
    """

    title: str
    header: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    note: str = ""
    texts: tuple[int, ...] = (0,)

    def print(self) -> None:
        """Print it to the terminal."""
        print_table(self.title, self.header, self.rows, self.texts)
        if self.note:
            say(fill(self.note, WIDTH))

    def markdown(self) -> str:
        """Return it as Markdown."""
        rule = tuple("---" if i in self.texts else "---:" for i in range(len(self.header)))
        lines = [self.header, rule, *self.rows]
        table = "\n".join(f"| {' | '.join(cells)} |".replace("\n", "<br>") for cells in lines)
        return f"### {self.title}\n\n{table}\n" + (f"\n{self.note}\n" if self.note else "")


def points(interval: Interval, sign: bool = False) -> str:
    """Return a share in percent, or a difference of shares in points, with its interval."""
    return f"{100 * interval.mean:{'+' if sign else ''}.1f} ± {100 * interval.half:.1f}"


def percent(values: Array, run: bool = False) -> str:
    """Return mean and half an interval of shares, in percent: of the mean, or of one more run."""
    return points(run_interval(values) if run else mean_interval(values)).replace(" ", "")
