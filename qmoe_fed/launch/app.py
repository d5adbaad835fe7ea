"""A Flower app directory, and what ``--run-config`` says."""

import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qmoe_fed.config.settings import read_toml
from qmoe_fed.errors import UserError

REQUIRED = (
    "project.name",
    "project.version",
    "tool.flwr.app.publisher",
    "tool.flwr.app.components.serverapp",
    "tool.flwr.app.components.clientapp",
)
# Flower's own rule: what --run-config means here, it also means to `flwr run`.
PAIR = re.compile(r"(\S+?)=('[^']*'|\"[^\"]*\"|\S+)")


@dataclass(frozen=True)
class FlowerApp:
    """A Flower app on disk.

    Attributes:
        path: Its directory, absolute.
        name: Its project name.
        settings: What its ``[tool.flwr.app.config]`` says.
        publisher: Who published it.
    """

    path: Path
    name: str
    settings: Mapping[str, Any]
    publisher: str = ""

    @classmethod
    def read(cls, path: Path) -> "FlowerApp":
        """Read the description of an app.

        Raises:
            UserError: There is no Flower app at the path.
        """
        pyproject = path / "pyproject.toml"
        if not path.is_dir():
            raise UserError(f"no directory {path}: expected the directory of a Flower app")
        if not pyproject.is_file():
            raise UserError(f"{path} is no Flower app: it has no pyproject.toml")
        content = read_toml(pyproject)
        for key in REQUIRED:
            if not isinstance(_look_up(content, key), str):
                raise UserError(f"{path} is no Flower app: its pyproject.toml lacks {key}")
        settings = _look_up(content, "tool.flwr.app.config") or {}
        publisher = _look_up(content, "tool.flwr.app.publisher")
        return cls(path.resolve(), content["project"]["name"], settings, publisher)


def parse_run_config(arguments: Iterable[str]) -> dict[str, Any]:
    """Return the settings in ``--run-config`` arguments; what comes later wins.

    Args:
        arguments: Each one a TOML file, or pairs ``key=value`` with TOML values.

    Raises:
        UserError: A file cannot be read, or an argument holds something else than pairs.
    """
    settings: dict[str, Any] = {}
    for argument in arguments:
        if argument.endswith(".toml"):
            settings |= read_toml(Path(argument).expanduser())
        else:
            settings |= _parse_pairs(argument)
    return settings


def _parse_pairs(text: str) -> dict[str, Any]:
    if rest := PAIR.sub("", text).strip():
        raise UserError(f"--run-config {text!r}: expected key=value or a .toml file, got {rest!r}")
    settings = {}
    for key, value in PAIR.findall(text):
        try:
            settings[key] = tomllib.loads(f"value = {value}")["value"]
        except tomllib.TOMLDecodeError as error:
            raise UserError(
                f"--run-config {key}={value}: not a TOML value; strings need quotes of their own, "
                f"as in --run-config \"{key}='text'\""
            ) from error
    return settings


def _look_up(content: Mapping[str, Any], key: str) -> Any:
    value: Any = content
    for part in key.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value
