"""Ends every process a run started, however deep it is in the process tree.

Flower and Ray detach what they start, so neither the process tree nor the process group leads to
all of it. A directory that belongs to one run alone does: its path stands in the environment
that every process hands down, and those that overwrite theirs (Ray's agents) log into it.
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event, Thread

import psutil

from qmoe_fed.signals import on_signals

MARK = "QMOE_FED_SCRATCH"
GRACE = 3.0  # seconds
POLL = 0.5  # seconds
LONGEST_PARENT = 24  # characters; Ray's sockets add 80, and a socket's path has at most 104


@contextmanager
def scratch_directory() -> Iterator[Path]:
    """Yield a new directory; on leaving, end every process that belongs to it and remove it.

    A process belongs to it if it was started, directly or not, with ``MARK`` set to the
    directory in its environment, or has a file open in it.

    Raises:
        RuntimeError: A process survived being killed.
    """
    parent = os.path.realpath(tempfile.gettempdir())
    short = parent if len(parent) <= LONGEST_PARENT else os.path.realpath("/tmp")
    directory = Path(tempfile.mkdtemp(prefix="qmoe-", dir=short))
    # does the same should this process be killed: its standard input ends then
    guard = [sys.executable, "-m", "qmoe_fed.launch.processes", str(directory)]
    with subprocess.Popen(guard, stdin=subprocess.PIPE, start_new_session=True) as watching:
        try:
            yield directory
        finally:
            with _later_signals():
                end_all(directory)
                shutil.rmtree(directory)
                watching.kill()  # it has nothing to do now, and may be frozen


def belonging_to(directory: Path) -> list[psutil.Process]:
    """Return the living processes that belong to a scratch directory, without this one."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):  # gone meanwhile, or another user's
            marked = process.environ().get(MARK) == str(directory)
            files = () if marked else process.open_files()
            if marked or any(Path(file.path).is_relative_to(directory) for file in files):
                found.append(process)
    return [process for process in found if process.pid != os.getpid()]


def end_all(directory: Path) -> None:
    """Ask every process of a scratch directory to end, and kill those that do not.

    Raises:
        RuntimeError: A process survived being killed.
    """
    for end in (psutil.Process.terminate, psutil.Process.kill, psutil.Process.kill):
        processes = belonging_to(directory)
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                end(process)
        psutil.wait_procs(processes, timeout=GRACE)
    if left := belonging_to(directory):
        raise RuntimeError(f"processes of the run do not end: {left}")


@contextmanager
def hurried(
    process: subprocess.Popen[bytes], over: Callable[[], bool], patience: float
) -> Iterator[None]:
    """Kill a process that goes on in the block for ``patience`` seconds after something is over."""
    left = Event()

    def watch() -> None:
        while not over():
            if left.wait(POLL):
                return
        if not left.wait(patience):
            process.kill()

    Thread(target=watch, daemon=True).start()
    try:
        yield
    finally:
        left.set()


@contextmanager
def _later_signals() -> Iterator[None]:
    """Hold back signals until the block is done."""
    received: list[int] = []
    with on_signals(lambda number, frame: received.append(number)):
        yield
    for number in received[:1]:
        signal.raise_signal(number)


if __name__ == "__main__":
    sys.stdin.read()
    if (left := Path(sys.argv[1])).exists():
        end_all(left)
        shutil.rmtree(left, ignore_errors=True)
