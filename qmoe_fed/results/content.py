"""Reads the files of a finished run and checks that they are what a run wrote."""

from collections.abc import Collection
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import torch

from qmoe_fed.config import Config
from qmoe_fed.data import Projection
from qmoe_fed.errors import UserError
from qmoe_fed.models import Parameters
from qmoe_fed.results.checkpoint import exists
from qmoe_fed.results.forms import (
    ENDED,
    ROUND,
    SPENT,
    SUMMARY,
    check_columns,
    check_tensors,
    damaged,
)
from qmoe_fed.results.run_directory import read_about, read_json, read_lines, read_tensors


class Content(NamedTuple):
    """What a run holds besides its path, see ``Run``."""

    config: Config
    summary: dict[str, Any]
    records: list[dict[str, Any]]
    projection: Projection
    shared: Parameters


def read_run(path: Path) -> Content:
    """Return what the directory of a finished run holds; errors as ``Run.load``."""
    about = read_about(path)
    way_on = f"; go on with it: qmoe-fed run APP --resume {path}" if exists(path) else ""
    if not (path / "summary.json").is_file():
        raise UserError(f"the run in {path} has not finished: there is no summary.json yet{way_on}")
    summary = read_json(path / "summary.json", ENDED)
    if summary["status"] == "failed":
        reason = " ".join(summary["reason"].split())
        raise UserError(
            f"the run in {path} failed ({reason}) and has no final models to load; what it had "
            f"come to stands in metrics.jsonl and shared.safetensors{way_on}"
        )
    spent = SPENT if summary.get("epsilon") is not None else {}
    read_json(path / "summary.json", {**SUMMARY, **spent})
    try:
        config = Config.from_flat(about["settings"])
    except UserError as error:
        told = f"{path / 'config.json'}, written by qmoe-fed {about['versions']['qmoe-fed']},"
        raise UserError(f"{told} cannot be used by {version('qmoe-fed')}: {error}") from error
    settings = config.federation
    asked_for = {"clients": settings.num_clients, "seed": settings.seed, "share": settings.share}
    for name, asked in asked_for.items():
        if summary[name] != asked:
            told = f"{name} is {summary[name]}, but {asked} in config.json"
            raise damaged(path / "summary.json", told)
    sizes = [*map(str, config.unseen.sample_sizes)]
    scores = {kind: [*own] for kind, own in summary["unseen"].items()}
    if scores and scores != dict.fromkeys(("shared", "scratch", "random"), sizes):
        raise damaged(path / "summary.json", f"unseen has {scores}, but samples are {sizes}")
    records, last = read_lines(path / "metrics.jsonl", ROUND), summary["rounds"]
    if last > settings.num_server_rounds:
        raise damaged(path / "summary.json", f"rounds is {last}, more than there were to be")
    if [one["round"] for one in records] != [*range(last + 1)]:
        raise damaged(path / "metrics.jsonl", f"expected rounds 0 to {last}, a line each")
    projection = _projection(path / "projection.safetensors")
    return Content(config, summary, records, projection, read_tensors(path / "shared.safetensors"))


def read_columns(file: Path, names: Collection[str], clients: range) -> dict[str, Any]:
    """Return a table by client that has some columns; UserError if the file has not."""
    table = read_json(file)
    check_columns(file, table, names, clients)
    return table


def _projection(file: Path) -> Projection:
    tensors = read_tensors(file)
    size, features = (len(tensors.get(name, torch.zeros(1)).flatten()) for name in ("mean", "low"))
    like = {"mean": (size,), "components": (size, features), "low": (features,)}
    like |= {"high": (features,), "gain": tensors.get("gain", torch.zeros(0)).shape}
    check_tensors(file, tensors, {name: torch.zeros(shape) for name, shape in like.items()})
    found = Projection.from_dict({name: tensors[name] for name in like})
    if not (found.low < found.high).all() or found.gain.shape[:1] not in ((0,), (1,), (size,)):
        raise damaged(file, "its bounds or its gain are none")
    return found
