"""Settings: how they are declared, checked, and read from TOML."""

import math
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Self, get_args

from qmoe_fed.errors import UserError, unknown

Scalar = bool | int | float | str
Check = Callable[[str, Any], None]
"""Takes the name and the value of a setting; raises UserError."""


def one_of(*allowed: str) -> Check:
    """Return the check of a setting that it is one of these."""

    def check(key: str, value: Any) -> None:
        if value not in allowed:
            raise unknown(key, value, allowed)

    return check


def between(low: float, high: float = float("inf")) -> Check:
    """Return the check of a setting that its number is in [low, high]."""

    def check(key: str, value: Any) -> None:
        if not low <= value <= high:
            limit = f"at least {low:g}" if high == float("inf") else f"in [{low:g}, {high:g}]"
            raise UserError(f"{key} = {value!r}: must be {limit}")

    return check


def positive(key: str, value: Any) -> None:
    """Check that the number of a setting is above 0."""
    if value <= 0:
        raise UserError(f"{key} = {value!r}: must be a positive number")


def named(*allowed: str) -> Check:
    """Return the check of a name that may also be an import path ``package.module:attribute``."""

    def check(key: str, value: Any) -> None:
        if value not in allowed and ":" not in value:
            raise unknown(key, value, allowed, "Or an import path 'package.module:attribute'.")

    return check


def device(key: str, value: Any) -> None:
    """Check that a setting names a device this project runs on."""
    if value.partition(":")[0] not in ("cpu", "cuda"):
        raise unknown(key, value, ("cpu", "cuda"), "Or one of several GPUs, e.g. 'cuda:1'.")


@dataclass(frozen=True)
class Spread:
    """A number, or numbers drawn uniformly from [low, high], one for each client."""

    low: float
    high: float

    @classmethod
    def of(cls, value: float | str) -> Self:
        """Read a number, or ``"uniform(low, high)"``.

        Raises:
            ValueError: The text says something else.
        """
        if not isinstance(value, str):
            return cls(value, value)
        if not (found := re.fullmatch(r"\s*uniform\(([^,]*),([^,]*)\)\s*", value)):
            raise ValueError(value)
        return cls(float(found[1]), float(found[2]))


def probability(key: str, value: float | str) -> None:
    """Check that a setting is a number in [0, 1], or ``"uniform(low, high)"`` of such numbers."""
    try:
        spread = Spread.of(value)
    except ValueError:
        spread = Spread(math.nan, math.nan)
    if not 0 <= spread.low <= spread.high <= 1:
        raise UserError(
            f"{key} = {value!r}: expected a number in [0, 1], or one drawn for each client, e.g. "
            "'uniform(0, 0.05)'"
        )


def depths(value: int | str) -> range:
    """Return the numbers of layers in ``3``, or in ``"1..3"``, where each client has its own.

    Raises:
        ValueError: The text says something else.
    """
    low, _, high = value.partition("..") if isinstance(value, str) else (value, "", value)
    return range(int(low), int(high) + 1)


def layer_counts(key: str, value: int | str) -> None:
    """Check that a setting is a number of layers, or the range that each client has its own in."""
    try:
        allowed = depths(value)
    except ValueError:
        allowed = range(0)
    if not allowed or allowed[0] < 1:
        raise UserError(
            f"{key} = {value!r}: expected a whole number of at least 1, or one for each client, "
            "e.g. '1..3'"
        )


def setting(default: Scalar, check: Check | None = None) -> Any:
    """Declare a setting with its default and the check its value must pass."""
    return field(default=default, metadata={"check": check})


@dataclass(frozen=True)
class Section:
    """Settings that are checked for type and range on construction.

    Numbers must be finite, and whole ones fit into the 64 bits of Flower's messages.

    Raises:
        UserError: A value has the wrong type or is out of range.
    """

    def __post_init__(self) -> None:
        for item in fields(self):
            key, value = kebab(item.name), getattr(self, item.name)
            kinds = get_args(item.type) or (item.type,)
            if isinstance(value, int) and abs(value) >= 2**63:
                raise UserError(f"{key} = {value}: must be less than 2^63")
            if isinstance(value, float) and not math.isfinite(value):
                raise UserError(f"{key} = {value}: must be a finite number")
            if float in kinds and type(value) is int:
                object.__setattr__(self, item.name, float(value))
            elif type(value) not in kinds:
                expected = " or ".join(kind.__name__ for kind in kinds)
                raise UserError(
                    f"{key} = {value!r}: expected {expected}, got {type(value).__name__}"
                )
            if check := item.metadata["check"]:
                check(key, getattr(self, item.name))


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
        sections = {item.name: item.default_factory for item in fields(cls)}
        homes = {
            kebab(item.name): name
            for name, section in sections.items()
            for item in fields(section)  # type: ignore[arg-type]
        }
        values: dict[str, dict[str, Any]] = {name: {} for name in sections}
        for key, value in settings.items():
            if key not in homes:
                raise unknown("setting", key, homes)
            values[homes[key]][key.replace("-", "_")] = value
        return cls(**{name: sections[name](**values[name]) for name in sections})  # type: ignore

    @classmethod
    def from_toml(cls, path: str | Path) -> Self:
        """Read a TOML file of flat settings.

        Raises:
            UserError: The file cannot be read, is not TOML, or holds bad settings.
        """
        return cls.from_flat(read_toml(path))

    def to_flat(self) -> dict[str, Scalar]:
        """Return all settings under their flat names."""
        return {
            kebab(key): value for section in asdict(self).values() for key, value in section.items()
        }


def read_toml(path: str | Path) -> dict[str, Any]:
    """Return the settings in a TOML file.

    Raises:
        UserError: The file cannot be read or is not TOML.
    """
    try:
        return tomllib.loads(Path(path).read_text())
    except OSError as error:
        raise UserError(f"cannot read config file {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"config file {path} is not valid TOML: {error}") from error


def parse_options(key: str, text: str) -> dict[str, Any]:
    """Return the keyword arguments in an options setting, e.g. ``"beta = 0.2, rounds = 3"``.

    Raises:
        UserError: The text is not the inside of a TOML inline table.
    """
    try:
        options: dict[str, Any] = tomllib.loads(f"options = {{ {text} }}")["options"]
    except tomllib.TOMLDecodeError as error:
        raise UserError(
            f"{key} = {text!r}: expected 'name = value, name = value' ({error})"
        ) from error
    return options
