"""Runs independent jobs in a few processes, with a progress bar."""

import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from multiprocessing import active_children, get_context
from typing import TypeVar

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

Result = TypeVar("Result")


def run_jobs(jobs: Sequence[Callable[[], Result]], processes: int) -> list[Result]:
    """Return what the jobs return, in their order.

    Args:
        jobs: Partial calls of functions of modules, so that other processes find them; the first
            start first, so long ones belong there.
        processes: Number of processes, each of one thread; with 1 it is this one.
    """
    with _progress(len(jobs)) as step:
        if processes == 1:
            results = []
            for job in jobs:
                results.append(job())
                step()
            return results
        with workers(min(processes, len(jobs))) as pool:
            futures: list[Future[Result]] = [pool.submit(job) for job in jobs]
            for future in as_completed(futures):
                future.result()
                step()
            return [future.result() for future in futures]


@contextmanager
def workers(processes: int) -> Iterator[ProcessPoolExecutor]:
    """Yield worker processes; when something goes wrong they end at once, busy or not."""
    context = get_context("spawn")  # torch's threads do not survive a fork
    pool = ProcessPoolExecutor(processes, context, initializer=_prepare)
    try:
        yield pool
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        for child in active_children():
            child.terminate()
        raise
    finally:
        pool.shutdown()


def _prepare() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what Ctrl-C means
    torch.set_num_threads(1)


@contextmanager
def _progress(total: int) -> Iterator[Callable[[], None]]:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("fitting", total=total)
        yield lambda: progress.advance(task)
