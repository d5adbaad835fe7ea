import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from tiny_app import family, write_tiny_app

from qmoe_fed.errors import UserError
from qmoe_fed.flower_run import visible

LOG = """\
Starting local SuperLink on 127.0.0.1:40000...
Successfully started run 123
INFO :      Starting Flower Simulation
WARNING :   Since flwr 1.32, default simulated SuperNodes changed from 10 to 2.
(ClientAppActor pid=5) WARNING :   Manually terminating ClientAppActor
INFO about the app, by the app
round 1/3
WARNING :   something is odd
(ClientAppActor pid=5) INFO :      nothing new
(ClientAppActor pid=5) a client speaks
ERROR :     a client failed
Traceback (most recent call last):
ValueError: bad
round 2/3
""".splitlines()
DEATH = """\
ERROR :     Simulation raised an exception
Traceback (most recent call last):
  File "server_app.py", line 1, in main
qmoe_fed.errors.UserError: take another number
ERROR :     Exit Code: 700
""".splitlines()


def test_the_user_sees_what_the_app_says_and_what_goes_wrong() -> None:
    seen = list(visible(LOG, verbose=False))
    assert seen == [LOG[5], LOG[6], LOG[7], *LOG[9:]]
    assert list(visible(LOG, verbose=True)) == LOG


def test_user_errors_come_without_traceback() -> None:
    lines = visible([LOG[6], *DEATH], verbose=False)
    assert next(lines) == LOG[6]
    with pytest.raises(UserError, match=r"^take another number$"):
        next(lines)


def test_other_deaths_are_shown_in_full() -> None:
    death = [line.replace("qmoe_fed.errors.UserError", "RuntimeError") for line in DEATH]
    assert list(visible([LOG[6], *death], verbose=False)) == [LOG[6], *death]


@contextmanager
def started(tmp_path: Path, seed: int, *options: str) -> Iterator[subprocess.Popen[str]]:
    """Start the tiny app from another directory; in the end, nothing it started may be alive."""
    results = tmp_path / "out"
    command = [sys.executable, "-m", "qmoe_fed.cli", "run", str(write_tiny_app(tmp_path / "tiny"))]
    command += ["--run-config", f"seed={seed}", "--output-dir", "out", *options]
    pipe = subprocess.PIPE
    (tmp_path / "elsewhere").mkdir()
    process = subprocess.Popen(command, cwd=tmp_path, stdout=pipe, stderr=pipe, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.wait()
    relatives = family(results)
    assert len(relatives) > 8, "Ray, SuperLink and SuperExec were not seen at all"
    own = {p.pid for p in [psutil.Process(), *psutil.Process().parents()]}
    assert not [pid for pid, start in relatives if pid not in own and _alive(pid, start)]


def _alive(pid: int, start: float) -> bool:
    try:
        process = psutil.Process(pid)
        return process.create_time() == start and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.mark.slow
def test_a_run_from_any_directory(tmp_path: Path) -> None:
    options = "x = 'a' # \"é\""
    file = tmp_path / "my.toml"
    file.write_text(f"router-options = {json.dumps(options, ensure_ascii=False)}\n")
    with started(tmp_path, 0, "--run-config", str(file), "--supernodes", "3") as process:
        out, err = process.communicate(timeout=200)
    assert (process.returncode, err) == (0, "")
    # Ray may add a word of its own, e.g. when an idle worker of it dies at the end.
    said = [line for line in out.splitlines() if "pid=" not in line]
    assert said == ["3 answers", f"results: {tmp_path / 'out'}"]
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["cwd"] == str(tmp_path)
    assert summary["config"]["router-options"] == options
    assert summary["config"]["num-clients"] == 50
    assert "Successfully started run" in (tmp_path / "out" / "flower.log").read_text()


@pytest.mark.slow
def test_a_failing_app_fails_the_run(tmp_path: Path) -> None:
    with started(tmp_path, 1) as process:
        out, err = process.communicate(timeout=200)
    assert process.returncode == 1
    assert "RuntimeError: one is not allowed" in out
    reason, log = err.splitlines()
    assert reason.startswith("error: the run ended as finished:failed")
    assert reason.endswith("one is not allowed")
    assert log == f"log: {tmp_path / 'out' / 'flower.log'}"


@pytest.mark.slow
def test_ctrl_c_ends_everything(tmp_path: Path) -> None:
    with started(tmp_path, 2) as process:
        deadline = time.monotonic() + 200
        while not (tmp_path / "out" / "family.json").exists():
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.1)
        os.kill(process.pid, signal.SIGINT)
        _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert err == f"stopped; results so far: {tmp_path / 'out'}\n"
