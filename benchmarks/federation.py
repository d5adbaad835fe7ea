"""Rounds of federated learning: ours in one process, against Flower with a node per client."""

import json
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
from startup import APP, HERE
from timing import Result, seconds_below, spread, summary

from qmoe_fed.launch.processes import MARK, scratch_directory

OURS, PENNYLANE = "qmoe_fed", "Flower, PennyLane"
CONTENDERS = {OURS: "qmoe_fed", "Flower, no-op": "no_op", PENNYLANE: "pennylane"}
ROUNDS_A_TURN = {OURS: 5, "Flower, no-op": 2, PENNYLANE: 1}
TOLERANCE = 1e-4  # radians


@contextmanager
def started(kind: str, clients: int, rounds: int) -> Iterator[Callable[[], Result]]:
    """Start a federation, of a kind as ``contender.py`` takes it; on leaving, end all it started.

    Yields:
        A function that has it run its next round, of so many ``rounds`` at most, and returns what
        it took: seconds ``wall`` and ``cpu``, all its processes together, ``megabytes`` that the
        first of them has held at most so far, and ``theta`` after the round.
    """
    with scratch_directory() as folder, (folder / "log").open("w+") as log:
        program = [sys.executable, str(HERE / "contender.py")]
        quiet = {"FLWR_TELEMETRY_ENABLED": "0", "RAY_USAGE_STATS_ENABLED": "0"}
        process = subprocess.Popen(
            [*program, kind, str(clients), str(rounds), str(folder)],
            env={**os.environ, **quiet, MARK: str(folder), "RAY_TMPDIR": str(folder)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )

        def ask() -> Result:
            assert process.stdin
            assert process.stdout
            before = seconds_below(process.pid)
            print(file=process.stdin, flush=True)
            if answer := process.stdout.readline():
                result: Result = json.loads(answer)
                after = seconds_below(process.pid)
                result["cpu"] += sum(after[one] - before.get(one, 0) for one in after)
                return result
            log.seek(0)
            raise RuntimeError(f"{kind} failed: {log.read()}")

        try:
            yield ask
        finally:
            process.kill()
            process.communicate()


def against_flower(clients: int, turns: int) -> Result:
    """Time rounds in steady state against stock Flower; nothing is evaluated in between.

    The contenders take turns. The first round of each, which starts Ray's workers, is not timed;
    after it and after each turn the PennyLane clients' angles are compared with ours.

    Raises:
        RuntimeError: The angles differ.
    """
    with ExitStack() as stack:
        asks = {
            name: stack.enter_context(started(kind, clients, 1 + turns * ROUNDS_A_TURN[name]))
            for name, kind in CONTENDERS.items()
        }
        seen = {name: [ask()] for name, ask in asks.items()}
        check_equal(seen[OURS], seen[PENNYLANE])
        costs: dict[str, dict[str, list[float]]] = {"wall": {}, "processor": {}}
        for _ in range(turns):
            for name, ask in asks.items():
                own = [ask() for _ in range(ROUNDS_A_TURN[name])]
                seen[name] += own
                for what, key in (("wall", "wall"), ("processor", "cpu")):
                    median = float(np.median([one[key] for one in own]))
                    costs[what].setdefault(f"{name}, {what}", []).append(median)
            check_equal(seen[OURS], seen[PENNYLANE])
    wall, processor = map(summary, costs.values())
    both = {part: wall[part] | processor[part] for part in wall}
    return {"clients": clients, **both, "load": os.getloadavg()[0]}


def check_equal(ours: list[Result], theirs: list[Result]) -> None:
    """Check that the angles after every round that both have run are the same, up to full turns.

    Raises:
        RuntimeError: They are not.
    """
    for number, (a, b) in enumerate(zip(ours, theirs, strict=False), 1):
        gap = np.remainder(np.subtract(a["theta"], b["theta"]) + math.pi, 2 * math.pi) - math.pi
        if not np.abs(gap).max() < TOLERANCE:
            raise RuntimeError(f"round {number}: the angles differ by {np.abs(gap).max():.2g}")


def scale(clients: list[int], rounds: int = 3) -> Iterator[Result]:
    """Time rounds of many clients in one process, and what they do to memory."""
    for number in clients:
        with started("qmoe_fed", number, rounds) as ask:
            seen = [ask() for _ in range(rounds)]
        times = {"processor": "cpu", "wall": "wall"}
        seconds = {name: spread([one[key] for one in seen[1:]]) for name, key in times.items()}
        yield {"clients": number, "seconds": seconds, "megabytes": seen[-1]["megabytes"]}


def on_supernodes(clients: list[int], rounds: int = 3) -> Iterator[Result]:
    """Time rounds of many clients on two SuperNodes of a Flower simulation."""
    from contender import settings  # imports all of Flower

    for number in clients:
        with tempfile.TemporaryDirectory() as folder:
            changes = settings(number, rounds).items()
            pairs = " ".join(f"{key}={json.dumps(value)}" for key, value in changes)
            run = [sys.executable, "-m", "qmoe_fed.cli", "run", str(APP), "--supernodes", "2"]
            run += ["--output-dir", folder, "--run-config", pairs]
            subprocess.run(run, check=True, capture_output=True)
            lines = (Path(folder) / "metrics.jsonl").read_text().splitlines()
        records = [json.loads(line) for line in lines]
        walls = [r["seconds"] for r in records if 1 < r["round"] < rounds]  # the last one evaluates
        yield {"clients": number, "seconds": {"wall": spread(walls)}}
