"""Rounds of federated learning: ours in one process, against Flower with a node per client."""

import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from contender import started
from our_federation import settings
from startup import APP
from timing import Result, spread, summary

OURS = "qmoe_fed"
STOCK = {"Flower, no-op": "no_op", "Flower, PennyLane": "pennylane"}
ROUNDS_A_TURN = {OURS: 5, "Flower, no-op": 2, "Flower, PennyLane": 1}
TOLERANCE = 1e-4  # radians


def against_flower(clients: int, turns: int) -> Result:
    """Time rounds in steady state against stock Flower; nothing is evaluated in between.

    The contenders take turns. The first round of each, which starts Ray's workers, is not timed;
    after it and after each turn the PennyLane clients' angles are compared with ours.

    Raises:
        RuntimeError: The angles differ.
    """
    with ExitStack() as stack:
        asks, seen = {}, {}
        for name, per_turn in ROUNDS_A_TURN.items():
            program = ("our_federation.py",) if name == OURS else ("stock_flower.py", STOCK[name])
            rounds = 1 + turns * per_turn
            asks[name] = stack.enter_context(started(program[0], clients, rounds, *program[1:]))
            seen[name] = [asks[name]()]
        check_equal(seen[OURS], seen["Flower, PennyLane"])
        turns_of: dict[str, list[Result]] = {name: [] for name in asks}
        for _ in range(turns):
            for name, ask in asks.items():
                rounds_now = [ask() for _ in range(ROUNDS_A_TURN[name])]
                seen[name] += rounds_now
                turns_of[name].append({k: _median(rounds_now, k) for k in ("wall", "cpu")})
            check_equal(seen[OURS], seen["Flower, PennyLane"])
    wall, processor = (
        summary({f"{name}, {what}": [turn[key] for turn in own] for name, own in turns_of.items()})
        for key, what in (("wall", "wall"), ("cpu", "processor"))
    )
    both = {part: wall[part] | processor[part] for part in wall}
    return {"clients": clients, **both, "load": os.getloadavg()[0]}


def _median(rounds: list[Result], key: str) -> float:
    return statistics.median([one[key] for one in rounds])


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
        with started("our_federation.py", number, rounds) as ask:
            seen = [ask() for _ in range(rounds)]
        times = {"processor": "cpu", "wall": "wall"}
        seconds = {name: spread([one[key] for one in seen[1:]]) for name, key in times.items()}
        yield {"clients": number, "seconds": seconds, "megabytes": seen[-1]["megabytes"]}


def on_supernodes(clients: list[int], rounds: int = 3) -> Iterator[Result]:
    """Time rounds of many clients on two SuperNodes of a Flower simulation."""
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
