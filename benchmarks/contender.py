"""Federations that run a round each time they are asked, so that they can take turns.

Each is a program of this folder in a process of its own, which starts once and then waits.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import psutil
from numpy.typing import NDArray
from timing import Result, cpu_seconds, peak_megabytes

from qmoe_fed.launch.processes import MARK, scratch_directory

HERE = Path(__file__).parent

BeforeRound = Callable[[NDArray[np.float32]], None]
"""What a federation calls before each round with the shared angles, shape ``(P,)``."""


@contextmanager
def started(
    program: str, clients: int, rounds: int, *arguments: str
) -> Iterator[Callable[[], Result]]:
    """Start a program; on leaving, end every process it started.

    Args:
        program: File in this folder.
        clients: Number of clients.
        rounds: How many rounds it will be asked for.
        arguments: What else the program takes.

    Yields:
        A function that has it run its next round and returns what the round took: seconds
        ``wall`` and ``cpu``, all its processes together, ``megabytes`` that the first of them has
        held at most so far, and ``theta`` after the round.
    """
    with scratch_directory() as folder, (folder / "log").open("w+") as log:
        command = [sys.executable, str(HERE / program), str(clients), str(rounds), str(folder)]
        quiet = {"FLWR_TELEMETRY_ENABLED": "0", "RAY_USAGE_STATS_ENABLED": "0"}
        process = subprocess.Popen(
            [*command, *arguments],
            env={**os.environ, **quiet, MARK: str(folder), "RAY_TMPDIR": str(folder)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )

        def ask() -> Result:
            assert process.stdin
            assert process.stdout
            before = _seconds_below(process.pid)
            print(file=process.stdin, flush=True)
            if answer := process.stdout.readline():
                result: Result = json.loads(answer)
                after = _seconds_below(process.pid)
                result["cpu"] += sum(after[one] - before.get(one, 0) for one in after)
                return result
            log.seek(0)
            raise RuntimeError(f"{program} failed: {log.read()}")

        try:
            yield ask
        finally:
            process.kill()
            process.communicate()


def _seconds_below(pid: int) -> dict[psutil.Process, float]:
    """Return the seconds of the processor that each living descendant of a process has used."""
    used = {}
    for one in psutil.Process(pid).children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            times = one.cpu_times()
            used[one] = times.user + times.system
    return used


def on_request() -> BeforeRound:
    """Return what such a program does before each round: it answers, then waits to be asked.

    Other output goes where errors go. One round more than will be asked for must be announced,
    for a round ends, and all its bookkeeping with it, where the next one begins.
    """
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    start: list[float] = []

    def before_round(theta: NDArray[np.float32]) -> None:
        if start:
            wall, cpu = time.monotonic() - start[0], cpu_seconds() - start[1]
            answer = {"wall": wall, "cpu": cpu, "megabytes": peak_megabytes()}
            print(json.dumps({**answer, "theta": theta.tolist()}), file=answers, flush=True)
        if not sys.stdin.readline():
            raise SystemExit("nobody will ask any more")
        start[:] = [time.monotonic(), cpu_seconds()]

    return before_round
