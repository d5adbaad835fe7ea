"""A Flower app directory, and the settings of one run of it, checked before anything starts."""

import re
import tomllib
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qmoe_fed.config import Config
from qmoe_fed.config.settings import Scalar, expanded, read_toml
from qmoe_fed.errors import UserError
from qmoe_fed.results.checkpoint import alone, check_resumable, check_whole
from qmoe_fed.results.events import check_log
from qmoe_fed.results.place import make_directory

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
    """A Flower app on disk: its directory, absolute; its project name, settings and publisher."""

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

    Each is a TOML file, or pairs ``key=value`` with TOML values.

    Raises:
        UserError: A file cannot be read, or an argument holds something else than pairs.
    """
    settings: dict[str, Any] = {}
    for argument in arguments:
        is_file = argument.endswith(".toml")
        settings |= read_toml(Path(argument).expanduser()) if is_file else _parse_pairs(argument)
    return settings


def _parse_pairs(text: str) -> dict[str, Any]:
    if rest := PAIR.sub("", text).strip():
        raise UserError(f"--run-config {text!r}: expected key=value or a .toml file, got {rest!r}")
    settings = {}
    for key, value in PAIR.findall(text):
        try:
            settings[key] = tomllib.loads(f"value = {value}")["value"]
        except ValueError as error:
            raise UserError(
                f"--run-config {key}={value[:80]}: not a TOML value; strings need quotes of their "
                f"own, as in --run-config \"{key}='text'\""
            ) from error
    return settings


def _look_up(content: Mapping[str, Any], key: str) -> Any:
    value: Any = content
    for part in key.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


@dataclass(frozen=True)
class RunSettings:
    """The settings of one run.

    Attributes:
        overrides: What replaces the app's own settings; paths are absolute.
        config: All settings together.
    """

    overrides: Mapping[str, Scalar]
    config: Config

    @property
    def output_dir(self) -> Path:
        """The directory of the results, absolute; it exists."""
        return Path(self.config.results.output_dir)


def settle(
    app: FlowerApp,
    overrides: Mapping[str, Any],
    output_dir: str | None,
    supernodes: int | None = None,
) -> RunSettings:
    """Check the settings of a run and make the directory of its results.

    Relative paths are taken from the working directory. If no ``output_dir`` is given, the settings
    say where the results go; by default it is a new directory under ``runs``.

    Raises:
        UserError: A setting is unknown, wrong, or one Flower would refuse to replace; there are
            more SuperNodes than clients; or the output directory holds a run or anything else, or
            cannot be made.
    """
    config = Config.from_flat({**app.settings, **overrides})
    check_log(config.results.log)
    _refuse_unlisted(app, {*overrides, "output-dir"})
    if supernodes and supernodes > (clients := config.federation.num_clients):
        raise UserError(f"--supernodes {supernodes}: num-clients = {clients}, and each needs one")
    name = output_dir or config.results.output_dir
    directory = make_directory(name, Path.cwd() / "runs", f"{app.name}-")
    overrides = {**overrides, "output-dir": str(directory)}
    if (data_dir := config.results.data_dir) or config.data.own:
        overrides["data-dir"] = str(expanded("data-dir", data_dir).absolute())
    return RunSettings(overrides, Config.from_flat({**app.settings, **overrides}))


def settle_resumed(app: FlowerApp, run_dir: Path) -> RunSettings:
    """Return the settings of a run of the app that was stopped, to go on with it.

    Its directory may have been moved.

    Raises:
        UserError: The run cannot be gone on with; the message says why.
    """
    directory = run_dir.absolute()
    about = check_resumable(directory)
    check_whole(directory)
    with alone(directory):
        pass  # a run that is still going on is refused before anything is started
    if about["app"] != (name := f"{app.publisher}/{app.name}"):
        raise UserError(f"the run in {directory} is one of the app {about['app']!r}, not {name!r}")
    recorded = Config.from_flat(about["settings"]).to_flat()
    settings = {**recorded, "resume": True, "output-dir": str(directory)}
    usual = Config.from_flat(app.settings).to_flat()
    overrides = {key: value for key, value in settings.items() if value != usual[key]}
    _refuse_unlisted(app, overrides.keys())
    return RunSettings(overrides, Config.from_flat(settings))


def _refuse_unlisted(app: FlowerApp, keys: Set[str]) -> None:
    if unlisted := sorted(keys - app.settings.keys()):
        raise UserError(
            f"{app.path / 'pyproject.toml'} must list {', '.join(unlisted)} in "
            "[tool.flwr.app.config]: Flower replaces only settings that stand there"
        )
