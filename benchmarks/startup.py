"""What it costs to import the package and to run the first example."""

import ctypes
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
from timing import Result, cpu_seconds, seconds_below, spread, summary

HERE = Path(__file__).parent
APP = HERE.parent / "simulations" / "moons_fed"
NO_OP = HERE / "no_op_fed"
MODULES = ("torch", "qmoe_fed", "qmoe_fed.circuits", "qmoe_fed.learning")
PR_SET_CHILD_SUBREAPER = 36  # of Linux, <linux/prctl.h>


def imports(repetitions: int) -> Result:
    """Time imports in new processes, in turns."""
    times: dict[str, list[float]] = {name: [] for name in MODULES}
    for _ in range(repetitions):
        for name, values in times.items():
            before = cpu_seconds()
            subprocess.run([sys.executable, "-c", f"import {name}"], check=True)
            values.append(cpu_seconds() - before)
    return summary(times)


def example(engine: str, repetitions: int) -> Result:
    """Time ``qmoe-fed run simulations/moons_fed`` from start to end.

    Through Flower it takes turns with a stock app of as many rounds that does nothing, run the
    same way; *above* says how much longer than that app the example takes.
    """
    runs = {"example": (APP, f"engine='{engine}'")}
    if engine == "flower":
        runs["no-op app"] = (NO_OP, "num-server-rounds=30")
    costs: dict[str, list[float]] = {}
    for _ in range(repetitions):
        for name, (app, settings) in runs.items():
            cpu, wall = _run(app, settings)
            costs.setdefault(f"{name}, processor", []).append(cpu)
            costs.setdefault(f"{name}, wall", []).append(wall)
    if engine == "flower":
        pairs = zip(costs["example, wall"], costs["no-op app, wall"], strict=True)
        costs["above, wall"] = [ours - floor for ours, floor in pairs]
    seconds = {name: spread(values) for name, values in costs.items()}
    return {"engine": engine, "seconds": seconds, "load": os.getloadavg()[0]}


def _run(app: Path, settings: str) -> tuple[float, float]:
    """Return what ``qmoe-fed run`` takes, in seconds of the processor and of the clock.

    Flower and Ray detach what they start, and Ray does not wait for its workers: orphans are
    handed to this process, and all there are below it are looked at ten times a second.
    """
    if ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1):
        raise RuntimeError("cannot adopt the processes that a run leaves behind")
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile("w+") as output:
        command = [sys.executable, "-m", "qmoe_fed.cli", "run", str(app), "--output-dir", folder]
        command += ["--run-config", settings]
        used, started = dict[psutil.Process, float](), time.monotonic()
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
        while process.poll() is None:
            used |= seconds_below()
            time.sleep(0.1)
        wall = time.monotonic() - started
        psutil.wait_procs(psutil.Process().children(), timeout=5)  # the orphans, ended by the run
        if process.returncode:
            output.seek(0)
            raise RuntimeError(f"{app} failed: {output.read()}")
    return sum(used.values()), wall
