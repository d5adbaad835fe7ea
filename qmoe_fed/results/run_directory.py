"""One directory per run: what was asked, what happened, and what came out.

::

    config.json             all settings, versions, start time
    projection.safetensors  how inputs become angles
    metrics.jsonl           one line per round
    shared.safetensors      the shared parameters when the run ended, however it did
    experts/                local parameters, one file per host, written by the host itself
    clients.json            final accuracy, loss and expert load of every client; where these are
                            hidden, each host writes experts/clients-P.json
    unseen.json             accuracy of every unseen client, by router and labelled samples
    summary.json            the figures a run is judged by; written last
    figures/                pictures, drawn from the files above
    report.html             all of it on one page, or how far a run came that failed
    tensorboard/            the rounds once more, as event files, with log = "tensorboard"
    checkpoint/             what to go on from if the run is stopped; gone when it is complete
"""

import json
import os
import platform
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from qmoe_fed.config import Config
from qmoe_fed.errors import UserError
from qmoe_fed.results import forms
from qmoe_fed.results.forms import PACKAGES


@dataclass(frozen=True)
class RunDirectory:
    """Writes a run directory.

    Every file is complete or absent, whenever the run ends; ``metrics.jsonl`` grows line by line.
    """

    path: Path

    @classmethod
    def create(cls, path: Path, config: Config, app: str = "") -> "RunDirectory":
        """Make the directory and write into it the settings and the app, ``publisher/name``.

        Raises:
            UserError: The directory cannot be written.
        """
        about = {
            "app": app,
            "settings": config.to_flat(),
            "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            "python": platform.python_version(),
            "versions": {name: version(name) for name in PACKAGES},
        }
        cls(path).write_json("config.json", about)
        return cls(path)

    def cut_rounds(self, count: int) -> None:
        """Keep the first ``count`` lines of ``metrics.jsonl``; UserError if these are not there."""
        file = self.path / "metrics.jsonl"
        rounds = [one["round"] for one in read_lines(file, forms.ROUND)]
        if rounds[:count] != [*range(count)]:
            raise forms.damaged(file, f"expected rounds 0 to {count - 1}, a line each")
        write_whole(file, b"".join(file.read_bytes().splitlines(keepends=True)[:count]))

    def write_json(self, name: str, content: Any) -> None:
        """Write a JSON file."""
        write_whole(self.path / name, f"{_json(content, 2)}\n".encode())

    def write_columns(self, name: str, columns: Mapping[str, Sequence[float]]) -> None:
        """Write a table as a JSON file with one line per column."""
        lines = ",\n".join(f"  {_json(key)}: {_json(own)}" for key, own in columns.items())
        write_whole(self.path / name, f"{{\n{lines}\n}}\n".encode())

    def add_round(self, metrics: Mapping[str, Any]) -> None:
        """Append one line to ``metrics.jsonl``; UserError if it cannot be written."""
        file = self.path / "metrics.jsonl"
        try:
            with file.open("a") as lines:
                lines.write(f"{_json(metrics)}\n")
        except OSError as error:
            raise UserError(f"cannot write {file}: {error.strerror}") from error


def _json(content: Any, indent: int | None = None) -> str:
    """Return content as JSON; NaN and infinity, which that does not know, become null."""
    finite = json.loads(json.dumps(content), parse_constant=lambda _: None)
    return json.dumps(finite, indent=indent, allow_nan=False)


def write_whole(path: Path, content: bytes) -> None:
    """Write a file that is complete or as it was before, whenever the process ends.

    Raises:
        UserError: It cannot be written.
    """
    temporary = path.with_name(f".{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(content)
        os.replace(temporary, path)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}") from error


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write a safetensors file; errors as ``write_whole``."""
    whole = torch.contiguous_format
    content = {k: v.detach().cpu().clone(memory_format=whole) for k, v in tensors.items()}
    write_whole(path, save(content))


def read_tensors(file: Path, hint: str = "") -> dict[str, Tensor]:
    """Return the content of a safetensors file.

    Raises:
        UserError: It cannot be read; the message ends with the hint.
    """
    try:
        tensors: dict[str, Tensor] = load_file(file)
    except (OSError, SafetensorError) as error:
        raise UserError(f"cannot read {file}: {error}{hint}") from error
    return tensors


def read_about(run: Path) -> dict[str, Any]:
    """Return the content of ``config.json`` of a run; errors as ``read_lines``, or it is no run."""
    file = run / "config.json"
    if not file.is_file():
        raise UserError(f"{run} is not the directory of a run: there is no config.json in it")
    return read_json(file, forms.ABOUT)


def read_json(file: Path, form: forms.Form = dict) -> dict[str, Any]:
    """Return the content of a JSON file, an object of some form; errors as ``read_lines``."""
    return read_lines(file, form, whole=True)[0]


def read_lines(file: Path, form: forms.Form = dict, whole: bool = False) -> list[dict[str, Any]]:
    """Return the contents of the lines of a file; of the ``whole`` of it, if that is one.

    Raises:
        UserError: It cannot be read, is not JSON, or holds something else than the form says.
    """
    try:
        text = file.read_text(encoding="utf-8")
        found = [json.loads(part) for part in ([text] if whole else text.split("\n")[:-1])]
        for one in found:
            forms.check(one, form)
    except OSError as error:
        raise UserError(f"cannot read {file}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise forms.damaged(file, error) from error
    return found
