"""What it costs to import the package and to run the first example."""

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from timing import Result, cpu_seconds, spread

APP = Path(__file__).parents[1] / "simulations" / "moons_fed"
MODULES = ("torch", "qmoe_fed", "qmoe_fed.circuits", "qmoe_fed.learning")


def imports(repetitions: int) -> Result:
    """Time imports in new processes, in turns."""
    times: dict[str, list[float]] = {name: [] for name in MODULES}
    for _ in range(repetitions):
        for name, values in times.items():
            values.append(_cpu([sys.executable, "-c", f"import {name}"])[0])
    ratios = {
        name: spread([a / b for a, b in zip(times[name], times["torch"], strict=True)])
        for name in MODULES[1:]
    }
    seconds = {name: spread(values) for name, values in times.items()}
    return {"seconds": seconds, "ratios": ratios}


def example(engine: str, repetitions: int) -> Iterator[Result]:
    """Time ``qmoe-fed run simulations/moons_fed`` from start to end."""
    cpus, walls = [], []
    for _ in range(repetitions):
        with tempfile.TemporaryDirectory() as folder:
            run = [sys.executable, "-m", "qmoe_fed.cli", "run", str(APP), "--output-dir", folder]
            cpu, wall = _cpu([*run, "--run-config", f"engine='{engine}'"])
            cpus.append(cpu)
            walls.append(wall)
    yield {"engine": engine, "seconds": {"processor": spread(cpus), "wall": spread(walls)}}


def _cpu(command: list[str]) -> tuple[float, float]:
    """Return seconds of the processor and of the clock that a command takes."""
    cpu, wall = cpu_seconds(), time.monotonic()
    subprocess.run(command, check=True, capture_output=True)
    return cpu_seconds() - cpu, time.monotonic() - wall
