"""Rounds of federated learning: ours in one process, against Flower with a node per client.

Runs are processes of their own: ``python federation.py CLIENTS ROUNDS`` prints what one costs.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

from timing import Result, cpu_seconds, peak_megabytes, spread

HERE = Path(__file__).parent
APP = HERE.parent / "simulations" / "moons_fed"
SETTINGS = {  # five steps of 32 samples, as stock_flower.py
    "engine": "local",
    "num-unseen-clients": 0,
    "local-epochs": 1,
    "train-samples": 160,
    "test-samples": 16,
    "evaluate-every": 1_000_000,
    "figures": False,
}


def against_flower(clients: list[int], kinds: list[str], limit: float) -> Iterator[Result]:
    """Time a round in steady state against stock Flower; nothing is evaluated in between.

    Args:
        clients: Numbers of clients.
        kinds: What the stock clients do, see ``stock_flower.py``.
        limit: Seconds after which a run of stock Flower is given up.
    """
    for number in clients:
        ours = in_process(number, rounds=8)
        seconds = {"qmoe_fed": spread(ours["wall"][1:])}
        for kind in kinds:
            rounds = _call("stock_flower.py", kind, number, 4, limit=limit)
            if rounds is not None:
                seconds[f"Flower, {kind}"] = spread(rounds[1:])
        ratios = {
            name: {"median": theirs["median"] / seconds["qmoe_fed"]["median"]}
            for name, theirs in seconds.items()
            if name != "qmoe_fed"
        }
        yield {"clients": number, "seconds": seconds, "ratios": ratios, "load": os.getloadavg()[0]}


def scale(clients: list[int], rounds: int = 3) -> Iterator[Result]:
    """Time rounds of many clients in one process, and what they do to memory."""
    for number in clients:
        run = in_process(number, rounds)
        yield {
            "clients": number,
            "seconds": {"processor": spread(run["cpu"][1:]), "wall": spread(run["wall"][1:])},
            "megabytes": run["megabytes"],
        }


def on_supernodes(clients: list[int], rounds: int = 3) -> Iterator[Result]:
    """Time rounds of many clients on two SuperNodes of a Flower simulation."""
    for number in clients:
        with tempfile.TemporaryDirectory() as folder:
            settings = {**SETTINGS, "engine": "flower", "num-clients": number}
            run = [sys.executable, "-m", "qmoe_fed.cli", "run", str(APP), "--supernodes", "2"]
            run += ["--output-dir", folder, "--run-config", _pairs(settings, rounds)]
            subprocess.run(run, check=True, capture_output=True)
            lines = (Path(folder) / "metrics.jsonl").read_text().splitlines()
        records = [json.loads(line) for line in lines]
        walls = [r["seconds"] for r in records if 1 < r["round"] < rounds]  # the last one evaluates
        yield {"clients": number, "seconds": {"wall": spread(walls)}}


def in_process(clients: int, rounds: int) -> dict[str, Any]:
    """Return seconds of each round, on the clock and of the processor, and peak memory in MB."""
    return _call("federation.py", clients, rounds)


def _pairs(settings: dict[str, Any], rounds: int) -> str:
    values = {**settings, "num-server-rounds": rounds}
    return " ".join(f"{key}={json.dumps(value)}" for key, value in values.items())


def _call(program: str, *arguments: object, limit: float | None = None) -> Any:
    """Return the JSON that a program of this folder prints last, or None if it takes too long."""
    command = [sys.executable, str(HERE / program), *map(str, arguments)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=limit, check=True)
    except subprocess.TimeoutExpired:
        return None
    return json.loads(done.stdout.splitlines()[-1])


def _run(clients: int, rounds: int, folder: str) -> dict[str, Any]:
    from qmoe_fed.config import Config
    from qmoe_fed.federated import client_app
    from qmoe_fed.federated.direct_grid import task_identity
    from qmoe_fed.federated.local_grid import LocalGrid
    from qmoe_fed.federated.server import run_federation
    from strategies import from_config, make_mechanisms

    settings = {**SETTINGS, "num-clients": clients, "num-server-rounds": rounds}
    settings["output-dir"] = folder
    moments = []

    def timed_strategy(*arguments: Any) -> Any:
        strategy = from_config(*arguments)
        aggregate = strategy.aggregate_train

        def aggregate_train(*arguments: Any) -> Any:
            result = aggregate(*arguments)
            moments.append((time.monotonic(), cpu_seconds()))
            return result

        strategy.aggregate_train = aggregate_train
        moments[:] = [(time.monotonic(), cpu_seconds())]
        return strategy

    with task_identity():
        grid = LocalGrid(client_app(make_mechanisms), settings)
        run_federation(grid, Config.from_flat(settings), timed_strategy)
    walls, cpus = (
        [end - start for start, end in pairwise(column)] for column in zip(*moments, strict=True)
    )
    return {"wall": walls, "cpu": cpus, "megabytes": peak_megabytes()}


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(_run(int(sys.argv[1]), int(sys.argv[2]), folder)))
