"""Times contenders fairly: checked equal first, one thread, interleaved, medians with spread."""

import json
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from timeit import timeit
from typing import Any

import numpy as np
import psutil
import torch

Result = dict[str, Any]
"""What is written down of one measurement."""

PACKAGES = ("torch", "flwr", "ray", "pennylane", "pennylane-lightning", "numpy")


def cpu_seconds() -> float:
    """Return the CPU time of this process and of its finished children.

    Unlike wall time it does not count what other processes do on the same cores.
    """
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


def seconds_below(pid: int | None = None) -> dict[psutil.Process, float]:
    """Return the CPU time of each descendant of a process; by default, of this one."""
    used = {}
    for one in psutil.Process(pid).children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            times = one.cpu_times()
            used[one] = times.user + times.system
    return used


def interleave(
    contenders: Mapping[str, Callable[[], object]], seconds: float, most: int = 50
) -> dict[str, list[float]]:
    """Return CPU seconds per call of each contender, by name.

    They take turns until ``seconds`` have gone by, each at least 3 and at most ``most`` times, so
    that what slows the machine down slows all of them. Fast ones are called several times a turn.
    """
    repeats = {
        name: max(1, min(50, round(0.01 / max(_timed(run, 1), 1e-6))))
        for name, run in contenders.items()
    }
    times: dict[str, list[float]] = {name: [] for name in contenders}
    end = time.monotonic() + seconds
    for turn in range(most):
        if turn >= 3 and time.monotonic() > end:
            break
        for name, run in contenders.items():
            times[name].append(_timed(run, repeats[name]))
    return times


def _timed(run: Callable[[], object], repeats: int) -> float:
    return timeit(run, timer=time.process_time, number=repeats) / repeats


def spread(values: list[float]) -> Result:
    """Return median, quartiles and number of measurements."""
    low, median, high = np.percentile(values, [25, 50, 75]).tolist()
    return {"median": median, "quartiles": [low, high], "repetitions": len(values)}


def compare(
    contenders: Mapping[str, Callable[[], object]], seconds: float, most: int = 50
) -> Result:
    """Time contenders against the first one; result as ``summary``."""
    return summary(interleave(contenders, seconds, most))


def summary(times: Mapping[str, list[float]]) -> Result:
    """Return seconds by name, and ratios of all but the first to the first, turn by turn."""
    first, *others = times
    ratios = {n: [a / b for a, b in zip(times[n], times[first], strict=True)] for n in others}
    return {
        "seconds": {name: spread(values) for name, values in times.items()},
        "ratios": {name: spread(values) for name, values in ratios.items()},
    }


def in_process(program: str, *arguments: object) -> Any:
    """Return what a program, the path of a file, prints as JSON in a process of its own."""
    command = [sys.executable, program, *map(str, arguments)]
    return json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)


def machine() -> Result:
    """Describe the machine, its load, threads and versions."""
    return {
        "processor": _field("/proc/cpuinfo", "model name") or platform.processor(),
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0],
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in PACKAGES},
    }


def peak_megabytes() -> float:
    """Return the most memory this process has held, in MB.

    ``getrusage`` would also count the process that started it.
    """
    return int(_field("/proc/self/status", "VmHWM").split()[0]) / 1024


def _field(file: str, name: str) -> str:
    """Return the first value of that name in a file of Linux; empty if there is none."""
    lines = Path(file).read_text().splitlines()
    return next((one.partition(":")[2].strip() for one in lines if one.startswith(name)), "")
