"""Runs the cells of a study in a few processes; what is done is on disk and not done again.

::

    study.json      which study, settings, versions, time of the last call
    records.jsonl   one line per fit: factors, seed, what was measured, and its cell
    cells.jsonl     one line per finished cell: its definition, number of rows, seconds
    arrays/         curves and parameters that pictures are drawn from, one file per cell
    tables.md       all tables
    figures/        pictures

A finished cell's rows are written at once, then its line in ``cells.jsonl``. Rows without that
line are of a cell that was cut off; they are dropped when the study goes on.
"""

import json
import signal
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from importlib.metadata import version
from multiprocessing import active_children, get_context
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from safetensors.numpy import load_file, save

from qmoe_fed.config.settings import Tree
from qmoe_fed.errors import UserError
from qmoe_fed.experiments.cells import Arrays, Cell, Measured
from qmoe_fed.results.forms import PACKAGES
from qmoe_fed.results.run_directory import read_json, write_whole


class Store:
    """The directory of a study: new, empty, or of an earlier call of the same study.

    Raises:
        UserError: The directory holds something else, is damaged, or cannot be made.
    """

    def __init__(self, folder: Path, study: str, settings: Tree) -> None:
        self.folder, about = folder, folder / "study.json"
        held = read_json(about)["study"] if about.exists() else ""
        try:
            if not held and folder.exists() and any(folder.iterdir()):
                held = "something else"
            if held not in ("", study):
                raise UserError(f"output-dir {folder} holds {held}; name another directory")
            (folder / "arrays").mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"cannot make output-dir {folder}: {error.strerror}") from error
        content = {
            "study": study,
            "settings": settings.to_flat(),
            "versions": {name: version(name) for name in PACKAGES},
            "called": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        }
        write_whole(about, (json.dumps(content, indent=2) + "\n").encode())
        self._records, self._cells = folder / "records.jsonl", folder / "cells.jsonl"
        self._done = {line["cell"]: line for line in _whole_lines(self._cells)}
        self._rows: dict[str, list[dict[str, Any]]] = {key: [] for key in self._done}
        found = _whole_lines(self._records)
        kept = [row for row in found if row["cell"] in self._done]
        for row in kept:
            self._rows[row["cell"]].append(row)
        if len(kept) < len(found):
            write_whole(self._records, _lines(kept))

    def has(self, cell: Cell) -> bool:
        """Return whether a cell is done."""
        return cell.key in self._done

    def add(self, cell: Cell, measured: Measured, seconds: float) -> None:
        """Write down what a cell yielded."""
        if measured.arrays:
            arrays = {name: np.asarray(a, order="C") for name, a in measured.arrays.items()}
            write_whole(self._file(cell.key), save(arrays))
        rows = [{**cell.factors, **row, "cell": cell.key} for row in measured.rows]
        about = {"cell": cell.key, **cell.definition, "rows": len(rows), "seconds": seconds}
        for file, lines in ((self._records, rows), (self._cells, [about])):
            with file.open("ab") as stream:
                stream.write(_lines(lines))
        self._rows[cell.key], self._done[cell.key] = rows, about

    def frame(self, cells: Iterable[Cell]) -> pd.DataFrame:
        """Return the rows of finished cells, in their order, with ``seconds`` of the cell.

        What was not measured is NaN, or None among texts.
        """
        return pd.DataFrame(
            {**row, "seconds": self._done[cell.key]["seconds"]}
            for cell in cells
            for row in self._rows[cell.key]
        )

    def arrays(self, key: str) -> Arrays:
        """Return the arrays of a finished cell by its key."""
        found: Arrays = load_file(self._file(key))
        return found

    def _file(self, key: str) -> Path:
        return self.folder / "arrays" / f"{key}.safetensors"


def _whole_lines(file: Path) -> list[dict[str, Any]]:
    """Return the objects in a file, from which a last line that was cut off is removed."""
    if not file.exists():
        return []
    whole, _, rest = file.read_text().rpartition("\n")
    if rest:
        write_whole(file, f"{whole}\n".encode() if whole else b"")
    try:
        return [json.loads(line) for line in whole.splitlines()]
    except ValueError as error:
        raise UserError(f"{file} is damaged: {error}; name another output-dir") from error


def _lines(lines: Iterable[dict[str, Any]]) -> bytes:
    """Return lines of JSON, which knows neither NaN nor infinity: they become null."""
    finite = (json.loads(json.dumps(line), parse_constant=lambda _: None) for line in lines)
    return "".join(json.dumps(line) + "\n" for line in finite).encode()


@dataclass(frozen=True)
class Runner:
    """Runs cells: in ``processes`` processes of one thread each; with 1 in this one."""

    store: Store
    processes: int

    def __call__(self, cells: Sequence[Cell]) -> pd.DataFrame:
        """Run what is not done, write each cell down when it is, and return the rows of all.

        Args:
            cells: The first start first, so long ones belong there.

        Raises:
            UserError: A cell cannot be measured; those finished before are written down.
        """
        waiting = [cell for cell in cells if not self.store.has(cell)]
        columns = TextColumn("cells"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
        with Progress(*columns, console=Console(stderr=True)) as progress:
            task = progress.add_task("", total=len(waiting))
            for cell, measured, seconds in _results(waiting, min(self.processes, len(waiting))):
                self.store.add(cell, measured, seconds)
                progress.advance(task)
        return self.store.frame(cells)


def _results(cells: Sequence[Cell], processes: int) -> Iterator[tuple[Cell, Measured, float]]:
    """Yield cells as they are done, with the seconds they took."""
    if processes <= 1:
        yield from map(_timed, cells)
        return
    context = get_context("spawn")  # torch's threads do not survive a fork
    with ProcessPoolExecutor(processes, context, initializer=_prepare) as pool:
        try:
            for future in as_completed([pool.submit(_timed, cell) for cell in cells]):
                yield future.result()
        except BaseException:  # then the processes end at once, busy or not
            pool.shutdown(wait=False, cancel_futures=True)
            for child in active_children():
                child.terminate()
            raise


def _timed(cell: Cell) -> tuple[Cell, Measured, float]:
    began = time.perf_counter()
    measured = cell.measure(**cell.arguments)
    return cell, measured, time.perf_counter() - began


def _prepare() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what Ctrl-C means
    torch.set_num_threads(1)
