"""Kills or freezes one process of a run under Flower at a random moment, again and again.

python tests/soak/killing.py [COUNT] [SEED]     about a minute each; exit status 1 if one failed

The run must go on, or ``--resume`` finish it; bit for bit if no host was left out of a round. A
process that is still frozen when nothing has happened for PATIENCE seconds is killed, and counted.
No process may be left.
"""

import atexit
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil
import tomli_w
from tiny_runs import APP, TINY

from qmoe_fed.launch.processes import MARK, belonging_to
from qmoe_fed.results import checkpoint
from qmoe_fed.results.run_directory import read_json, read_lines

PATIENCE, LONGEST = 30, 240  # seconds
SETTINGS = {**TINY, "engine": "flower", "num-server-rounds": 60, "checkpoint-every": 2}


def start(folder: Path, *more: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "qmoe_fed.cli", "run", str(APP), "--supernodes", "2", *more]
    with folder.with_suffix(".log").open("ab") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
    atexit.register(process.kill)
    return process


def kind_of(process: psutil.Process) -> str:
    line, names = " ".join(process.cmdline()), "ClientAppActor ray::IDLE ray:: gcs_server raylet"
    names += " dashboard runtime_env log_monitor launch.processes flower- flwr"
    return next((name for name in (*names.split(), "qmoe_fed.cli") if name in line), "other")


def trial(folder: Path, whole: Path, seconds: float, draw: random.Random) -> tuple[str, str]:
    """Hurt one process of a run once; return what was done, and how it ended."""
    asked = ("--run-config", str(whole.with_suffix(".toml")), "--output-dir", str(folder))
    run = start(folder, *asked)
    time.sleep(seconds * draw.uniform(0.1, 0.9))
    if run.poll() is not None:
        return "nothing, it had ended", compared(folder, whole)
    children = psutil.Process(run.pid).children()
    marks = {child.environ().get(MARK) for child in children} - {None}
    scratch = Path(marks.pop()) if marks else None
    by_kind: dict[str, list[psutil.Process]] = {"qmoe_fed.cli": [psutil.Process(run.pid)]}
    for process in belonging_to(scratch) if scratch else children:
        by_kind.setdefault(kind_of(process), []).append(process)
    victim = draw.choice(by_kind[kind := draw.choice(sorted(by_kind))])
    number = draw.choice([signal.SIGKILL, signal.SIGSTOP])
    lines = folder / "metrics.jsonl"
    what = f"{number.name} {kind} ({victim.name()}) after {rounds_of(folder)} rounds"
    victim.send_signal(number)
    frozen, since = "", time.monotonic()
    while run.poll() is None and time.monotonic() < since + LONGEST:
        time.sleep(0.5)
        fresh = lines.stat().st_mtime if lines.exists() else 0
        if victim.is_running() and time.time() - fresh > PATIENCE < time.monotonic() - since:
            victim.kill()
            frozen = "frozen; "
    if run.poll() is None:
        run.kill()
        return what, "HANGS"
    if scratch and (left := left_of(scratch)):
        return what, f"{frozen}LEFT: {[kind_of(process) for process in left]}"
    ended = f"{frozen}exit status {run.returncode}"
    summary = folder / "summary.json"
    whole_already = summary.exists() and read_json(summary)["status"] == "completed"
    if run.returncode and not whole_already:
        again = ("--resume", str(folder)) if checkpoint.exists(folder) else ()
        with start(folder, *(again or asked)) as second:
            status = second.wait(LONGEST)
        ended += f", {'resumed' if again else 'run anew'}: {status}"
        if status:
            return what, f"{ended} FAILED"
    return what, f"{ended}; {compared(folder, whole)}"


def rounds_of(folder: Path) -> int:
    lines = folder / "metrics.jsonl"
    return lines.read_bytes().count(b"\n") if lines.exists() else 0


def left_of(scratch: Path) -> list[psutil.Process]:
    """Return what is still there of a run that has ended, some seconds later."""
    deadline = time.monotonic() + 20
    while (left := belonging_to(scratch)) and time.monotonic() < deadline:
        time.sleep(0.5)
    return left


def failed(number: int, what: str, ended: str, log: Path) -> bool:
    """Print how a trial ended, with the end of its log if it failed; return whether it did."""
    bad = any(word.isupper() and len(word) > 3 for word in ended.split())
    print(f"{number}: {what}: {ended}", flush=True)
    if bad:
        print(log.read_text()[-1500:], flush=True)
    return bad


def compared(folder: Path, whole: Path) -> str:
    if read_json(folder / "summary.json")["status"] != "completed":
        return "FAILED"
    out = sum(len(line.get("rejections", ())) for line in read_lines(folder / "metrics.jsonl"))
    same = all(
        (folder / name).read_bytes() == (whole / name).read_bytes()
        for name in ("shared.safetensors", "clients.json", "unseen.json")
        if (whole / name).exists()
    )
    return "the same bits" if same else f"{out} left out" if out else "OTHER BITS"


def main(count: int, seed: int) -> int:
    bad = 0
    with TemporaryDirectory(dir=os.environ.get("SOAK_DIR")) as place:
        whole, began = Path(place) / "whole", time.monotonic()
        whole.with_suffix(".toml").write_text(tomli_w.dumps(SETTINGS))
        asked = ("--run-config", str(whole.with_suffix(".toml")), "--output-dir", str(whole))
        assert start(whole, *asked).wait() == 0, whole.with_suffix(".log").read_text()
        seconds = time.monotonic() - began
        for number in range(count):
            folder = Path(place) / f"run-{seed + number}"
            what, ended = trial(folder, whole, seconds, random.Random(seed + number))
            bad += failed(seed + number, what, ended, folder.with_suffix(".log"))
    return 1 if bad else 0


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    given = [int(text) for text in sys.argv[1:]]
    sys.exit(main(*given, *(50, 0)[len(given) :]))
