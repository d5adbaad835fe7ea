"""Stopped by a signal, and gone on with from the command line."""

import signal
import subprocess
import sys
import time
from functools import cache
from pathlib import Path

import pytest
from small_federation import SMALL
from stopped_runs import assert_same_bits, timeless

from qmoe_fed.results import checkpoint

APP = Path(__file__).parents[2] / "simulations" / "moons_fed"


def cli(*options: str) -> list[str]:
    return [sys.executable, "-m", "qmoe_fed.cli", "run", str(APP), "--supernodes", "2", *options]


def lines_of(file: Path) -> int:
    return file.read_bytes().count(b"\n") if file.exists() else 0


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Return what runs settings without a stop, once, and names the directory of the results."""
    folder = tmp_path_factory.mktemp("whole")

    @cache
    def run(pairs):
        results = folder / str(run.cache_info().misses)
        subprocess.run(cli("--run-config", pairs, "--output-dir", str(results)), check=True)
        return results

    return run


@pytest.mark.parametrize(
    ("engine", "rounds", "number"),
    [
        ("local", 40, signal.SIGKILL),
        pytest.param("flower", 15, signal.SIGINT, marks=pytest.mark.slow),
    ],
)
def test_stopped_by_a_signal_and_gone_on_with_from_the_command_line(
    tmp_path, whole, engine, rounds, number
):
    settings = {**SMALL, "engine": engine, "num-server-rounds": rounds, "checkpoint-every": 3}
    pairs = " ".join(
        f"{k}={str(v).lower() if isinstance(v, bool) else repr(v)}" for k, v in settings.items()
    )
    run, asked = tmp_path / "run", cli("--run-config", pairs, "--output-dir")
    process = subprocess.Popen([*asked, str(run)], stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while lines_of(run / "metrics.jsonl") < 9:
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert checkpoint.exists(run)
    if number == signal.SIGKILL:
        assert process.returncode == -number
        assert not (run / "summary.json").exists()
    else:
        assert process.returncode == 128 + number
        last = f"go on with: qmoe-fed run {APP} --resume {run} --supernodes 2\n"
        assert err == f"stopped; results so far: {run}\n{last}"
    done = subprocess.run(cli("--resume", str(run)), capture_output=True, text=True, check=True)
    assert "going on after round" in done.stdout
    assert_same_bits(timeless(whole(pairs)), timeless(run))
