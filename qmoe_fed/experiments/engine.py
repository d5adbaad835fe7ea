"""Runs the cells of a study in a few processes; what is done is not done again."""

import signal
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import active_children, get_context

import pandas as pd
import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from qmoe_fed.experiments.cells import Cell, Measured
from qmoe_fed.experiments.store import Store


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
