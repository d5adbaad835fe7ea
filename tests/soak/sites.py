"""Kills or freezes one process of a deployment at a random moment, again and again.

python tests/soak/sites.py [COUNT] [SEED]     some minutes each; exit status 1 if one failed

SuperNodes that die, or have no SuperExec any more, are started again; so is a SuperLink, with all
else, and the run gone on with.
A process that is still frozen when nothing has happened for PATIENCE seconds is killed. In the end
the run is completed; bit for bit if no host was left out of a round. No process may be left.
"""

import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil
from deployed import Site
from killing import compared, failed, left_of, rounds_of

from qmoe_fed.launch.processes import scratch_directory
from qmoe_fed.results import checkpoint
from qmoe_fed.results.run_directory import read_json

PATIENCE, LONGEST = 90, 600  # seconds; Flower misses a frozen SuperNode after a minute
START = 30  # seconds in which a SuperNode has started its SuperExec
ROUNDS = 4
SETTINGS = {
    "expert-fit": "gradient",
    "num-server-rounds": ROUNDS,
    "checkpoint-every": 1,
    "round-timeout": 20.0,
    "supernode-timeout": 60.0,
}


class Machines:
    """The processes of a site: the SuperLink and two SuperNodes."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self) -> None:
        """Start what does not work; a new SuperLink wants all SuperNodes anew."""
        if not self.works("link"):
            self.stop(*self.running)
            self.running["link"] = self.site.link(0, 1)
        self.mend()

    def mend(self) -> None:
        """Start SuperNodes that do not work."""
        for number in range(2):
            if not self.works(name := f"node {number}"):
                self.stop(name)
                self.running[name] = self.site.node(number, number)

    def is_up(self, name: str) -> bool:
        return name in self.running and self.running[name].poll() is None

    def works(self, name: str) -> bool:
        """Return whether a process is up and has its SuperExec, if it has had time to start it."""
        if not self.is_up(name):
            return False
        own = psutil.Process(self.running[name].pid)
        alive = [one for one in own.children() if one.status() != psutil.STATUS_ZOMBIE]
        return bool(alive) or time.time() < own.create_time() + START

    def stop(self, *names: str) -> None:
        for name in names:
            if process := self.running.pop(name, None):
                process.terminate()
                process.wait(60)

    def victims(self) -> dict[str, list[psutil.Process]]:
        """Return all living processes by what they are."""
        found: dict[str, list[psutil.Process]] = {}
        for name, process in self.running.items():
            own = psutil.Process(process.pid)
            for one in (own, *own.children(recursive=True)):
                found.setdefault(f"{name.split()[0]}: {one.name()}", []).append(one)
        return found


def followed(run: subprocess.Popen[bytes], machines: Machines, folder: Path, frozen) -> str:
    """Follow a run to its end, as who looks after the machines would; return what was done."""
    began, last, rounds, told = time.monotonic(), time.monotonic(), rounds_of(folder), ""
    while run.poll() is None and time.monotonic() < began + LONGEST:
        time.sleep(0.5)
        if rounds_of(folder) != rounds:
            last, rounds = time.monotonic(), rounds_of(folder)
        if frozen is not None and frozen.is_running() and time.monotonic() > last + PATIENCE:
            frozen.kill()
            told = "frozen; "
        lost = not (machines.is_up("link") if folder.exists() else machines.works("link"))
        if lost:  # one that lost its SuperExec starts no run; one that has begun goes on
            run.kill()
            return f"{told}no SuperLink; "
        machines.mend()
    return told if run.poll() is not None else "HANGS"


def trial(folder: Path, whole: Path, draw: random.Random) -> tuple[str, str]:
    """Hurt one process once; return what was done, and how it ended."""
    folder.mkdir()
    with scratch_directory() as scratch:
        site = Site(folder, scratch)
        machines, results = Machines(site), folder / "run"
        machines.start()
        site.wait_for(2)
        run, due = site.submit("run", **SETTINGS), draw.randrange(ROUNDS)
        while rounds_of(results) < due and run.poll() is None:
            time.sleep(0.1)
        time.sleep(draw.uniform(0, 3))
        by_kind = machines.victims()
        victim = draw.choice(by_kind[kind := draw.choice(sorted(by_kind))])
        number = draw.choice([signal.SIGKILL, signal.SIGSTOP])
        what = f"{number.name} {kind} after {rounds_of(results)} rounds"
        victim.send_signal(number)
        ended = followed(run, machines, results, victim if number == signal.SIGSTOP else None)
        if victim.is_running():
            victim.kill()  # frozen, and the run ended without it
        summary = results / "summary.json"
        if not summary.exists() or read_json(summary)["status"] != "completed":
            machines.start()
            site.wait_for(2)
            resume = checkpoint.exists(results)
            run = site.submit("run", **SETTINGS, resume=resume)
            ended += f"{'resumed' if resume else 'run anew'}; "
            ended += followed(run, machines, results, None)
        machines.stop(*machines.running)
        if left := left_of(scratch):
            return what, f"{ended}LEFT: {[one.name() for one in left]}"
    return what, ended + compared(results, whole)


def main(count: int, seed: int) -> int:
    bad = 0
    with TemporaryDirectory() as place:
        whole = Path(place) / "whole"
        whole.mkdir()
        with scratch_directory() as scratch:
            machines = Machines(Site(whole, scratch))
            machines.start()
            machines.site.wait_for(2)
            assert machines.site.submit("run", **SETTINGS).wait(LONGEST) == 0
            machines.stop(*machines.running)
        for number in range(seed, seed + count):
            folder = Path(place) / f"site-{number}"
            what, ended = trial(folder, whole / "run", random.Random(number))
            bad += failed(number, what, ended, folder / "flwr.log")
    return 1 if bad else 0


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    given = [int(text) for text in sys.argv[1:]]
    sys.exit(main(*given, *(20, 0)[len(given) :]))
