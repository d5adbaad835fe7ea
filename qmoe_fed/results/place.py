"""The directory that a run may write into: a new one, an empty one, or one of a run that is over.

What came to nothing blocks no directory: a start that failed, a run that was killed before its
first checkpoint, one that failed before its first round. Nothing else is ever removed or changed.
"""

import shutil
import time
from contextlib import suppress
from itertools import count
from pathlib import Path

from qmoe_fed.config.settings import expanded
from qmoe_fed.errors import UserError
from qmoe_fed.results import events
from qmoe_fed.results.checkpoint import alone, exists
from qmoe_fed.results.run_directory import read_json

LOGS = {"flower.log", "superlink.log"}
FOLDERS_OF_A_KILLED_RUN = {"checkpoint", events.FOLDER}
OF_A_KILLED_RUN = {"config.json", "projection.safetensors", "metrics.jsonl"} | LOGS
OF_A_KILLED_RUN |= FOLDERS_OF_A_KILLED_RUN
OF_A_FAILED_RUN = {"summary.json", "shared.safetensors", "report.html"}


def make_directory(name: str, runs: Path, prefix: str = "") -> Path:
    """Make the named directory; or, without a name, one below ``runs``: the prefix and the time.

    Raises:
        UserError: It holds a run or anything else, or cannot be made.
    """
    try:
        if not name:
            return _new(runs / f"{prefix}{time.strftime('%Y%m%d-%H%M%S')}")
        directory = expanded("output-dir", name).absolute()
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot make output-dir {error.filename}: {error.strerror}") from error
    if (directory / "config.json").exists():
        _clear(directory)
    elif strangers := strangers_in(directory):
        raise UserError(
            f"output-dir {directory} is not empty: {strangers[0]} is in it; name a new directory"
        )
    (directory / "summary.json").unlink(missing_ok=True)  # of a start that failed
    return directory


def strangers_in(directory: Path) -> list[str]:
    """Return what is in a directory, if it is there, that no start that failed has left."""
    names = sorted(path.name for path in directory.iterdir()) if directory.is_dir() else []
    own = LOGS | {"summary.json"} if _tells_of_a_failure(directory / "summary.json") else LOGS
    return [name for name in names if name not in own]


def _tells_of_a_failure(summary: Path) -> bool:
    try:
        return {"error", "reason"} <= read_json(summary).keys()
    except UserError:  # it is not there, or not ours
        return False


def _new(stem: Path) -> Path:
    """Make a directory that was not there, ``stem`` or ``stem-2``, ``stem-3``, …"""
    for number in count(1):
        directory = stem if number == 1 else stem.with_name(f"{stem.name}-{number}")
        with suppress(FileExistsError):
            directory.mkdir(parents=True)
            return directory
    raise AssertionError


def _clear(directory: Path) -> None:
    """Remove a run that cannot be gone on with, nor has come to anything; UserError if it has."""
    found, rounds = {path.name for path in directory.iterdir()}, directory / "metrics.jsonl"
    trained = rounds.exists() and rounds.read_bytes().count(b"\n") > 1  # the first line: round 0
    kinds = {name.removeprefix(".") for name in found}  # a file that was not whole yet has a dot
    ours = OF_A_KILLED_RUN if trained else OF_A_KILLED_RUN | OF_A_FAILED_RUN
    over = kinds <= ours and not exists(directory)
    if not over or "settings" not in read_json(directory / "config.json"):
        raise UserError(f"output-dir {directory} already holds a run; name another directory")
    with alone(directory):
        for name in found:
            if name in FOLDERS_OF_A_KILLED_RUN:
                shutil.rmtree(directory / name, ignore_errors=True)
            else:
                (directory / name).unlink()
