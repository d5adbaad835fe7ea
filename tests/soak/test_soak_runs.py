"""Damaged directories of runs: whatever is read of them, it is there or refused in one line."""

import json
import math
import random
import shutil
from pathlib import Path
from unittest.mock import patch

import torch
from safetensors.torch import load_file, save_file
from soaking import command, damaged, soak
from tiny_runs import APP

import qmoe_fed as q
from qmoe_fed.errors import UserError
from qmoe_fed.results import watch

ODD = (None, True, -1, 0, 10**12, math.inf, math.nan, "", "\0", "näh\n", [], [[]], {}, {"a": 1})
X = [[0.5, 0.25], [-1, 1]]
LOOKS = {
    "rounds": lambda run: run.rounds,
    "clients": lambda run: run.clients,
    "unseen": lambda run: run.unseen,
    "local": lambda run: run.local,
    "complete": lambda run: run.complete,
    "predict": lambda run: [run.predict(client, X) for client in range(4)],
    "routing": lambda run: run.routing(X),
    "data": lambda run: [run.data([1]), run.raw([2])],
    "pictures": lambda run: run.pictures,
    "table": lambda run: run._repr_html_(),
    "compare": lambda run: q.compare([run, run]),
}


def test_whatever_is_read_of_a_damaged_run(finished: Path, tmp_path: Path) -> None:
    def case(draw: random.Random) -> str:
        path = _damaged_copy(finished, tmp_path / "copy", draw)
        if draw.random() < 0.1:
            with patch.object(watch, "SECONDS", 0.0):
                return command(draw.choice(["plot", "report", "watch"]), str(path))
        run, refused = q.load_run(path), False
        for look in LOOKS.values():
            try:
                look(run)
            except UserError as error:
                refused = True
                if "\n" in str(error):
                    raise
        return "refused" if refused else "done"

    assert soak(15, 3000, case)["refused"] > 3


def test_going_on_with_a_damaged_run(stopped: Path, tmp_path: Path) -> None:
    def case(draw: random.Random) -> str:
        path = _damaged_copy(stopped, tmp_path / "copy", draw)
        return command("run", str(APP), "--supernodes", "2", "--resume", str(path))

    assert soak(4, 1000, case)["refused"]


def _damaged_copy(run: Path, copy: Path, draw: random.Random) -> Path:
    """Copy the directory of a run and damage one file of it."""
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(run, copy)
    files = sorted(file for file in copy.rglob("*") if file.is_file())
    file = draw.choice(files)
    whole, how = file.read_bytes(), draw.random()
    if how < 0.2:
        file.unlink()
        if draw.random() < 0.3:
            file.mkdir()
        elif draw.random() < 0.5:
            shutil.copy(draw.choice([other for other in files if other != file]), file)
    elif how < 0.5:
        file.write_bytes(damaged(whole, draw))
    elif file.suffix == ".safetensors":
        save_file(_odd_tensors(load_file(file), draw), file)
    else:
        parts = [whole] if file.suffix == ".json" else whole.splitlines()
        line = draw.randrange(len(parts))
        parts[line] = json.dumps(_odd_json(json.loads(parts[line]), draw)).encode()
        file.write_bytes(b"\n".join(parts))
    return copy


def _odd_json(content, draw):
    """Return a tree with one of its values left out, or replaced by an odd one."""
    if isinstance(content, dict | list) and content and draw.random() < 0.9:
        changed = content.copy()
        keys = [*content] if isinstance(content, dict) else range(len(content))
        key = draw.choice(keys)
        if draw.random() < 0.2:
            del changed[key]
        else:
            changed[key] = _odd_json(changed[key], draw)
        return changed
    return draw.choice(ODD)


def _odd_tensors(tensors, draw):
    """Return tensors, one of them left out, added, of another shape or type, or not finite."""
    name = draw.choice([*tensors])
    values = tensors[name]
    odd = [
        values.reshape(-1),
        values[None],
        values.repeat_interleave(2, 0) if values.dim() else values,
        values[:0] if values.dim() else values,
        values.double(),
        values.long(),
        values > 0,
        values.to(torch.complex64),
        torch.full_like(values.float(), draw.choice([math.nan, math.inf, -1e30, 1e30])),
        values.flip(0) if values.dim() else -values,
    ]
    how = draw.randrange(len(odd) + 2)
    if how == len(odd):
        return {key: own for key, own in tensors.items() if key != name}
    if how > len(odd):
        return {**tensors, "more": values.clone()}
    return {**tensors, name: odd[how].contiguous()}
