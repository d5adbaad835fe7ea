"""Settings: how they are declared, checked, and read from TOML."""

import math
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Self, get_args

from qmoe_fed.errors import UserError, unknown

Scalar = bool | int | float | str
Check = Callable[[str, Any], None]
"""Takes the name and the value of a setting; raises UserError."""


def one_of(*allowed: str, hint: str = "", other: str = "") -> Check:
    """Return the check of a setting that it is one of these, or has ``other`` in it."""

    def check(key: str, value: Any) -> None:
        if value not in allowed and not (other and other in value):
            raise unknown(key, value, allowed, hint)

    return check


def named(*allowed: str) -> Check:
    """Return the check of a name that may also be an import path ``package.module:attribute``."""
    return one_of(*allowed, hint="Or an import path 'package.module:attribute'.", other=":")


def between(low: float, high: float = math.inf) -> Check:
    """Return the check of a setting that its number is in [low, high]."""
    limit = f"at least {low:g}" if high == math.inf else f"in [{low:g}, {high:g}]"
    return _holds(lambda value: low <= value <= high, f"must be {limit}")


def readable(read: Callable[[Any], object], expected: str) -> Check:
    """Return the check of a setting that a function can read it without a ValueError."""

    def check(key: str, value: Any) -> None:
        try:
            read(value)
        except ValueError as error:
            raise UserError(f"{key} = {value!r}: expected {expected}") from error

    return check


def _holds(condition: Callable[[Any], bool], words: str) -> Check:
    def check(key: str, value: Any) -> None:
        if not condition(value):
            raise UserError(f"{key} = {value!r}: {words}")

    return check


positive = _holds(lambda value: value > 0, "must be a positive number")


def setting(default: Scalar, check: Check | None = None) -> Any:
    """Declare a setting with its default and the check its value must pass."""
    return field(default=default, metadata={"check": check})


@dataclass(frozen=True)
class Section:
    """Settings; UserError on construction if one has the wrong type or is out of range.

    Numbers must be finite, and whole ones fit into the 64 bits of Flower's messages.
    """

    def __post_init__(self) -> None:
        for item in fields(self):
            key, value = kebab(item.name), vars(self)[item.name]
            kinds = get_args(item.type) or (item.type,)
            if isinstance(value, int) and abs(value) >= 2**63:
                shown = value if abs(value) < 10**40 else "…"  # Python writes no longer ones
                raise UserError(f"{key} = {shown}: must be less than 2^63")
            if isinstance(value, str) and "\0" in value:
                raise UserError(f"{key} = {value!r}: must be text without NUL")
            if isinstance(value, float) and not math.isfinite(value):
                raise UserError(f"{key} = {value}: must be a finite number")
            if float in kinds and type(value) is int:
                value = float(value)
                object.__setattr__(self, item.name, value)
            if (kind := type(value)) not in kinds:
                expected = " or ".join(allowed.__name__ for allowed in kinds)
                raise UserError(f"{key} = {value!r}: expected {expected}, got {kind.__name__}")
            if check := item.metadata["check"]:
                check(key, value)


def kebab(name: str) -> str:
    """Return the setting name of a dataclass field: ``num_clients`` → ``num-clients``."""
    return name.replace("_", "-")


@dataclass(frozen=True)
class Tree:
    """Sections of settings under one flat namespace; a subclass has a section per field."""

    @classmethod
    def from_flat(cls, settings: Mapping[str, Any]) -> Self:
        """Build a config from flat kebab-case settings; what is not named keeps its default.

        Raises:
            UserError: A key is unknown, a value has the wrong type or is out of range, or two
                settings cannot go together.
        """
        sections: dict[str, Any] = {item.name: item.type for item in fields(cls)}
        homes = {kebab(item.name): name for name, kind in sections.items() for item in fields(kind)}
        values: dict[str, dict[str, Any]] = {name: {} for name in sections}
        for key, value in settings.items():
            if key not in homes:
                raise unknown("setting", key, homes)
            values[homes[key]][key.replace("-", "_")] = value
        return cls(**{name: kind(**values[name]) for name, kind in sections.items()})

    @classmethod
    def from_toml(cls, path: str | Path) -> Self:
        """Read a TOML file of flat settings; errors as ``read_toml`` and ``from_flat``."""
        return cls.from_flat(read_toml(path))

    def to_flat(self) -> dict[str, Scalar]:
        """Return all settings under their flat names."""
        sections = asdict(self).values()
        return {kebab(key): value for section in sections for key, value in section.items()}


def read_toml(path: str | Path) -> dict[str, Any]:
    """Return the settings in a TOML file; UserError if it cannot be read or is not TOML."""
    try:
        return tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"cannot read config file {path}: {error.strerror}") from error
    except ValueError as error:  # or numbers too long for Python
        raise UserError(f"config file {path} is not valid TOML: {error}") from error


def expanded(key: str, path: str | Path) -> Path:
    """Return a path with ``~`` resolved; UserError if there is no such user."""
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise UserError(f"{key} = {str(path)!r}: {error}") from error


def parse_options(key: str, text: str) -> dict[str, Any]:
    """Return the keyword arguments in a setting; UserError if not like ``"beta = 0.2, n = 3"``."""
    try:
        options: dict[str, Any] = tomllib.loads(f"options = {{ {text} }}")["options"]
    except ValueError as error:
        form = "'name = value, name = value'"
        raise UserError(f"{key} = {text!r}: expected {form} ({error})") from error
    return options
