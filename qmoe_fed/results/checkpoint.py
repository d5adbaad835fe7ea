"""What a run that was stopped goes on from: all of one round, or all of an earlier one.

::

    checkpoint/current.json   which folder is current, which host wrote where last, and when, and
                              what the server keeps besides tensors
    checkpoint/a/, b/, …      server.safetensors, and host-P.safetensors, written by host P itself;
                              answered-P.safetensors, what it has answered in hidden sums

A new checkpoint goes into a folder that the current one does not need, and ``current.json`` is
replaced last: a process that is killed leaves the old checkpoint whole or the new one. What a host
wrote last that is gone stays where it is.
"""

import fcntl
import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from itertools import chain, count
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from qmoe_fed.errors import UserError
from qmoe_fed.results import forms
from qmoe_fed.results.run_directory import read_about, read_json, write_whole

SERVER = "server.safetensors"
CURRENT = "checkpoint/current.json"


def host_file(folder: Path, host: int) -> Path:
    """Return where the host with this partition-id writes."""
    return folder / f"host-{host}.safetensors"


def exists(run: Path) -> bool:
    """Return whether there is a checkpoint to go on from."""
    return (run / CURRENT).is_file()


def read_current(run: Path) -> tuple[Path, dict[str, Any]]:
    """Return the folder of the current checkpoint and what ``make_current`` was given.

    Raises:
        UserError: There is none, or it cannot be read.
    """
    content = read_json(run / CURRENT, forms.CHECKPOINT)
    named, rounds = content["folders"], content["rounds"]
    if not content["folder"].isalnum() or len(named) != len(rounds):
        raise forms.damaged(run / CURRENT, "its folder is none")
    return run / "checkpoint" / content["folder"], content


def next_folder(run: Path) -> Path:
    """Return an empty folder for a new checkpoint."""
    content = read_current(run)[1] if exists(run) else {"folder": "", "folders": []}
    taken = {Path(name).name for name in (content["folder"], *content["folders"])}
    names = (name for name in chain("ab", map(str, count())) if name not in taken)
    folder = run / "checkpoint" / next(names)
    if folder.exists():
        shutil.rmtree(folder)
    return folder


def make_current(run: Path, folder: Path, content: Mapping[str, Any]) -> None:
    """Make the checkpoint in a folder, all written, the one to go on from; keep content beside."""
    write_whole(run / CURRENT, json.dumps({"folder": folder.name, **content}).encode())


def check_resumable(run: Path) -> dict[str, Any]:
    """Return the content of ``config.json`` of a run that can be gone on with.

    Raises:
        UserError: It is no run, is complete, has no checkpoint, or was made by other versions.
    """
    about = read_about(run)
    summary = run / "summary.json"
    if summary.exists() and read_json(summary, forms.ENDED)["status"] != "failed":
        raise UserError(f"the run in {run} is complete: there is nothing to go on with")
    if not exists(run):
        every = about["settings"].get("checkpoint-every", 0)
        raise UserError(
            f"the run in {run} left no checkpoint (checkpoint-every = {every}): it ended before "
            "its first, or its strategy cannot be saved, as it then says at its start; run it anew"
        )
    made_with = {name: about["versions"][name] for name in forms.PACKAGES}
    if others := {k: v for k, v in made_with.items() if version(k) != v}:
        made = ", ".join(f"{name} {number}" for name, number in others.items())
        here = ", ".join(f"{name} {version(name)}" for name in others)
        raise UserError(f"the run in {run} was made with {made}, but here is {here}: install that")
    return about


def check_whole(run: Path) -> None:
    """Check that all files of the current checkpoint are on this machine and complete.

    Raises:
        UserError: One is missing or damaged.
    """
    folder, content = read_current(run)
    places = enumerate(zip(content["folders"], content["rounds"], strict=True))
    files = [host_file(run / where, host) for host, (where, last) in places if last]
    for file in (folder / SERVER, *files):
        try:
            with safe_open(file, "numpy"):
                pass
        except (OSError, SafetensorError) as error:
            raise UserError(
                f"the checkpoint in {run} is damaged: cannot read {file}: {error}; restore the "
                "file, or run it anew"
            ) from error


@contextmanager
def alone(run: Path) -> Iterator[None]:
    """Keep other processes from running in the directory until the block, or this process, ends.

    Raises:
        UserError: Another one does.
    """
    with (run / "config.json").open("r+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            told = f"a run is still going on in {run}: wait until it ends, or stop it"
            told += f" (process {holder(run) or 'unknown'})"
            raise UserError(told) from error
        yield


def holder(run: Path) -> str:
    """Return the id of the process that runs in a directory, as Linux tells it; "" if none does."""
    end, locks = f":{(run / 'config.json').stat().st_ino}", Path("/proc/locks")
    if not locks.exists():
        return "unknown"
    lines = map(str.split, locks.read_text().splitlines())
    return next((part[4] for part in lines if part[5].endswith(end)), "")
