import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import psutil
import pytest
from tiny_app import family, write_tiny_app

from qmoe_fed.errors import UserError
from qmoe_fed.launch import processes, superlink
from qmoe_fed.launch.superlink import RunFailed
from qmoe_fed.results import checkpoint


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
    assert said == ["3 answers"]
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
    assert err.startswith("error: the run ended as finished:failed")
    assert err.endswith(f"one is not allowed (logs: {tmp_path / 'out'})\n")
    assert err.count("\n") == 1
    logs = {path.name: path.read_text() for path in (tmp_path / "out").glob("*.log")}
    assert "one is not allowed" in logs["flower.log"]
    assert "Starting Flower SuperLink" in logs["superlink.log"]


@pytest.mark.slow
def test_what_an_app_refuses_is_told_in_one_line(tmp_path: Path) -> None:
    with started(tmp_path, 3) as process:
        out, err = process.communicate(timeout=200)
    assert (process.returncode, err) == (2, "error: take seed = 4\n")
    assert "Traceback" not in out
    assert "ValueError: take seed = 4" in (tmp_path / "out" / "flower.log").read_text()


SAID = [
    ({"status": "completed"}, None, ""),
    ({"status": "stopped", "reason": "ε"}, None, ""),
    ({"status": "failed", "error": "UserError", "reason": "no"}, UserError, r"^no$"),
    ({"status": "failed", "error": "KeyError", "reason": "a"}, RunFailed, "^KeyError: a$"),
    ({"status": "odd"}, RunFailed, "^odd: None$"),
]


@pytest.mark.parametrize(("summary", "error", "message"), SAID)
def test_how_a_run_ended_is_read_from_its_directory(
    tmp_path: Path, summary: dict[str, str], error: type[Exception] | None, message: str
) -> None:
    file = tmp_path / "summary.json"
    file.write_text(json.dumps(summary))
    with pytest.raises(error, match=message) if error else nullcontext():
        superlink.check_outcome(file, {})


def test_without_a_summary_flower_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = ['{"runs": [{"status": "finished:failed", "status-details": "d"}]}', "{}", "no"]
    words = ["as finished:failed without a summary: d", "does not tell how: {}", "not tell how: no"]
    for answer, word in zip(answers, words, strict=True):
        done = subprocess.CompletedProcess([], 0, answer)
        monkeypatch.setattr(subprocess, "run", lambda *_, done=done, **__: done)
        with pytest.raises(RunFailed, match=rf"^the run ended .*{word}$"):
            superlink.check_outcome(tmp_path / "summary.json", {})


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


def test_a_ray_cluster_that_does_not_answer_is_refused_at_once() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        superlink.check_ray(f"127.0.0.1:{port}")
    for address in (f"127.0.0.1:{port}", f"ray://127.0.0.1:{port}", "127.0.0.1:99999"):
        with pytest.raises(UserError, match="start that cluster, or unset RAY_ADDRESS"):
            superlink.check_ray(address)
    for address in ("", "auto", "local"):
        superlink.check_ray(address)


def test_what_hangs_after_a_run_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(superlink, "END_TIMEOUT", 0.1)
    monkeypatch.setattr(processes, "POLL", 0.05)
    (tmp_path / "config.json").write_text("{}")
    command, log = ["sh", "-c", "echo up; exec sleep 60"], tmp_path / "flower.log"
    lines = superlink._lines(command, {**os.environ}, log, tmp_path)
    assert next(lines) == "up"
    with checkpoint.alone(tmp_path):
        (tmp_path / "summary.json").write_text('{"status": "completed"}')
        assert not superlink.is_over(tmp_path)
    assert [*lines] == []
    assert log.read_text() == "up\n"


def test_what_could_not_start_is_no_success(tmp_path: Path) -> None:
    lines = superlink._lines(["sh", "-c", "exit 3"], {**os.environ}, tmp_path / "log", tmp_path)
    with pytest.raises(RunFailed, match="exit status 3"):
        list(lines)
