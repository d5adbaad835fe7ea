"""One directory per run: what was asked, what happened, and what came out.

::

    config.json          all settings, versions, start time
    metrics.jsonl        one line per round
    clients.json         final accuracy, loss and expert load of every client
    summary.json         the figures a run is judged by
    shared.safetensors   the shared parameters after the last round
    experts/             local parameters, one file per host, written by the host itself
    projection.safetensors  how inputs become angles
    figures/             pictures, drawn from the files above
"""

import json
import math
import os
import platform
import time
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

from qmoe_fed.config import Config
from qmoe_fed.errors import UserError

PACKAGES = ("flwr", "torch", "pennylane", "numpy", "scikit-learn", "qmoe-fed")


@dataclass(frozen=True)
class RunDirectory:
    """Writes a run directory; every file is complete or absent, whenever the run ends.

    Attributes:
        path: The directory.
    """

    path: Path

    @classmethod
    def create(cls, path: Path, config: Config) -> "RunDirectory":
        """Make the directory and write the settings into it.

        Raises:
            UserError: The directory already holds a run, or cannot be written.
        """
        if (path / "config.json").exists():
            raise UserError(f"output-dir {path} already holds a run; name another directory")
        try:
            path.mkdir(parents=True, exist_ok=True)
            run = cls(path)
            about = {
                "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
                "python": platform.python_version(),
                "versions": {name: version(name) for name in PACKAGES},
            }
            run.write_json("config.json", {"settings": config.to_flat(), **about})
        except OSError as error:
            raise UserError(f"cannot write to output-dir {path}: {error.strerror}") from error
        return run

    def write_json(self, name: str, content: Any) -> None:
        """Write a JSON file, all at once."""
        temporary = self.path / f".{name}"
        temporary.write_text(json.dumps(_finite(content), indent=2, allow_nan=False) + "\n")
        os.replace(temporary, self.path / name)

    def add_round(self, metrics: Mapping[str, Any]) -> None:
        """Append one line to ``metrics.jsonl``."""
        with (self.path / "metrics.jsonl").open("a") as file:
            file.write(json.dumps(_finite(metrics), allow_nan=False) + "\n")

    def write_arrays(self, name: str, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Write a safetensors file, all at once."""
        temporary = self.path / f".{name}"
        save_file({key: np.ascontiguousarray(values) for key, values in arrays.items()}, temporary)
        os.replace(temporary, self.path / name)


def _finite(content: Any) -> Any:
    """Replace NaN and infinity, which JSON does not know, by None."""
    if isinstance(content, Mapping):
        return {key: _finite(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_finite(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content
