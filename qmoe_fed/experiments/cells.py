"""A cell: one job of a study, what it is recognised by, what it yields."""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, is_dataclass
from functools import cached_property
from typing import Any

import pandas as pd
from numpy.typing import NDArray

from qmoe_fed.config.settings import Scalar

Row = dict[str, Scalar | None]
"""One fit: its seed and what was measured."""

Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Measured:
    """What a cell yields: a row per fit, and arrays that pictures need beside them."""

    rows: list[Row]
    arrays: Arrays = field(default_factory=dict)


def to_rows(columns: Mapping[str, object]) -> list[Row]:
    """Return a row per value of the columns, arrays or lists; a single value stands in all."""
    rows: list[Row] = pd.DataFrame(columns).to_dict("records")
    return rows


@dataclass(frozen=True)
class Cell:
    """One job, which fits all its seeds at once.

    Attributes:
        measure: A function of a module, so that other processes find it.
        factors: What tells its rows from those of other cells; columns of the records.
        arguments: What ``measure`` is called with: dataclasses, or what JSON can hold.
    """

    measure: Callable[..., Measured]
    factors: Mapping[str, Scalar]
    arguments: Mapping[str, Any]

    @cached_property
    def definition(self) -> dict[str, Any]:
        """All that its rows depend on, as JSON can hold it; where data lie is no part of it."""
        name = f"{self.measure.__module__}.{self.measure.__qualname__}"
        arguments = _plain(self.arguments)
        return {"measure": name, "factors": dict(self.factors), "arguments": arguments}

    @cached_property
    def key(self) -> str:
        """A short name for the definition: cells that differ in anything have different ones."""
        text = json.dumps(self.definition, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        value = asdict(value)
    if isinstance(value, Mapping):
        return {key: _plain(own) for key, own in value.items() if key != "data_dir"}
    return [_plain(own) for own in value] if isinstance(value, list | tuple) else value
