import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from qmoe_fed.launch import processes
from qmoe_fed.launch.processes import MARK, belonging_to, scratch_directory
from qmoe_fed.signals import Stopped, stoppable

SLEEP = "import time; print('up', flush=True); time.sleep(20)"
DEAF = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {SLEEP}"
FORGETFUL = f"import sys; file = open(sys.argv[1], 'w'); {SLEEP}"
GRANDPARENT = (
    "import subprocess, sys; "
    "child = subprocess.Popen([sys.executable, '-c', sys.argv[1]], start_new_session=True, "
    "stdout=subprocess.DEVNULL); "
    "print(child.pid, flush=True)"
)


def start(code: str, *arguments: str, mark: Path | None = None) -> subprocess.Popen[str]:
    environment = {**os.environ, MARK: str(mark)} if mark else None
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def first_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout
    return process.stdout.readline().strip()


def test_marked_processes_end_whatever_they_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "GRACE", 0.3)
    with scratch_directory() as scratch, start(SLEEP) as stranger, (scratch / "own").open("w"):
        with start(GRANDPARENT, SLEEP, mark=scratch) as parent:
            orphan = int(first_line(parent))
        with (
            start(SLEEP, mark=scratch) as obedient,
            start(DEAF, mark=scratch) as deaf,
            start(FORGETFUL, str(scratch / "log")) as forgetful,
        ):
            ours = [obedient, deaf, forgetful]
            assert [first_line(p) for p in [*ours, stranger]] == ["up"] * 4
            pids = {orphan, *(p.pid for p in ours)}
            assert {p.pid for p in belonging_to(scratch)} == pids
            processes.end_all(scratch)
            assert belonging_to(scratch) == []
            assert all(p.poll() is not None for p in ours)
        assert stranger.poll() is None
        stranger.kill()
    assert not scratch.exists()


def test_scratch_path_leaves_room_for_sockets(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with scratch_directory() as scratch:
        assert len(str(scratch)) <= 40


def test_stop_during_cleanup_waits_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    cleaned = []

    def clean(scratch: Path) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.05)
        cleaned.append(scratch)

    monkeypatch.setattr(processes, "end_all", clean)
    with pytest.raises(Stopped) as stop, stoppable(), scratch_directory() as scratch:
        pass
    assert stop.value.signal == signal.SIGTERM
    assert cleaned == [scratch]
    assert not scratch.exists()


def test_ignored_signals_stay_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stoppable():
            os.kill(os.getpid(), signal.SIGHUP)
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_nothing_is_left_of_a_process_that_is_killed(tmp_path: Path) -> None:
    code = (
        "import os, subprocess, time; from qmoe_fed.launch.processes import *\n"
        "with scratch_directory() as own:\n"
        "    child = subprocess.Popen(['sleep', '600'], env={**os.environ, MARK: str(own)})\n"
        "    print(own, child.pid, flush=True)\n"
        "    time.sleep(600)\n"
    )
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        directory, child = process.stdout.readline().split()
        process.kill()
    deadline = time.monotonic() + 60
    while Path(directory).exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not Path(directory).exists()
    assert not psutil.pid_exists(int(child)) or psutil.Process(int(child)).status() == "zombie"
