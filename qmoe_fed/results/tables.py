"""Tables for the terminal, and frames."""

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    import pandas as pd

WIDTH = 100
"""Columns, whatever the terminal: a log must look the same everywhere."""


def print_table(
    title: str, header: Sequence[str], rows: Sequence[Sequence[str]], texts: Collection[int] = (0,)
) -> None:
    """Print rows of cells below a title and, if there is one, a header.

    Columns in ``texts`` hold text; the others hold numbers and are flush right.
    """
    table = Table(box=SIMPLE_HEAD, show_header=bool(header), show_edge=False, pad_edge=False)
    for i, name in enumerate(header or rows[0]):
        table.add_column(name, justify="left" if i in texts else "right", overflow="fold")
    for row in rows:
        table.add_row(*row)
    Console(width=WIDTH, highlight=False).print(f"\n[bold]{title}[/bold]", table, sep="\n")


def frame(*parts: dict[str, Any]) -> "pd.DataFrame":
    """Return columns by name, those of several hosts together, by client; NaN for null."""
    import pandas as pd

    joined = pd.concat([pd.DataFrame(part, dtype="float64") for part in parts])
    if "client" in joined:
        joined = joined.astype({"client": "int64"}).sort_values("client", ignore_index=True)
    return joined
