"""Shows a run under way, or one that has ended, from the files in its directory alone."""

import math
import time
from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from qmoe_fed.results.checkpoint import holder
from qmoe_fed.results.forms import ENDED, ROUND
from qmoe_fed.results.run_directory import read_about, read_json, read_lines

SECONDS = 0.5
"""Between two looks at the files."""

PATIENCE = 3
"""Looks at a run that no process seems to carry on, before it is said to have ended."""

ROUNDS, REASONS = 12, 5
"""That are shown at most: the last rounds, and clients left out of the last."""


def watch(run: Path) -> bool:
    """Show a run in the terminal until it ends, and return whether it is complete.

    A run that no process on this machine carries on any more has ended too, where Linux tells.

    Raises:
        UserError: It is no run, or a file of it is damaged.
    """
    total = read_about(run)["settings"]["num-server-rounds"]
    free, status = 0, ""
    with Live(_view(run, total, ""), refresh_per_second=2) as live:
        while not status:
            process = holder(run)  # asked before the summary, which is there before it lets go
            free = 0 if process else free + 1
            if (run / "summary.json").is_file() and not process.isdecimal():
                summary = read_json(run / "summary.json", ENDED)
                status = f"{summary['status']}{': ' * bool(summary['reason'])}{summary['reason']}"
            elif free > PATIENCE:
                status = "no process here runs it: it was killed, or runs on another machine"
            live.update(_view(run, total, status))
            if not status:
                time.sleep(SECONDS)
    return status.startswith(("completed", "stopped"))


def _view(run: Path, total: int, status: str) -> RenderableType:
    """Return how far a run has come: a bar, the last rounds, who was left out of the last one."""
    records = _records(run / "metrics.jsonl")
    last: dict[str, Any] = records[-1] if records else {"round": 0}
    table = Table(box=None, pad_edge=False)
    for name in ("round", "accuracy", "worst 10%", "loss", "left out", "ε", "seconds"):
        table.add_column(name, justify="right")
    for record in records[-ROUNDS:]:
        accuracy, loss = record.get("accuracy", {}), record.get("loss", {})
        spent = record.get("train", {}).get("epsilon")
        numbers = (accuracy.get("mean"), accuracy.get("worst10"), loss.get("mean"))
        out = f"{len(record.get('rejections', ())):,}"
        cells = (*map(_number, numbers), out, _number(spent), f"{record['seconds']:.2f}")
        table.add_row(f"{record['round']}/{total}", *cells)
    rejected = last.get("rejections", ())
    reasons = [Text(f"client {one['client']}: {one['reason']}") for one in rejected[:REASONS]]
    if len(rejected) > REASONS:
        reasons.append(Text(f"and {len(rejected) - REASONS:,} more"))
    seconds = [record["seconds"] for record in records[1:]]
    left = sum(seconds) / len(seconds) * (total - last["round"]) if seconds else math.nan
    state = status or ("" if math.isnan(left) else f"~{left:.0f} s left")
    bar = ProgressBar(total, last["round"], width=40)
    return Group(Text(str(run), "bold"), bar, table, *reasons, Text(state))


def _records(file: Path) -> list[dict[str, Any]]:
    """Return the rounds that are written down; the line that is being written is not yet one."""
    return read_lines(file, ROUND) if file.is_file() else []


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
