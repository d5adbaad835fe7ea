"""Settings whose text stands for something else: spreads, ranges, lists of numbers.

Each function raises ValueError where the text says something else.
"""

import re
from dataclasses import dataclass

BUILT_IN = ("moons", "digits", "mnist", "fashion-mnist")
FILES = (".npz", ".csv", ".parquet", "-ubyte", "-ubyte.gz", "/")
"""How the names of files end that hold samples; a folder has one for each client."""


@dataclass(frozen=True)
class Spread:
    """A number in [0, 1], or numbers drawn uniformly from [low, high], one for each client."""

    low: float
    high: float

    @classmethod
    def of(cls, value: float | str) -> "Spread":
        """Read a number, or ``"uniform(low, high)"``."""
        low = high = value
        if isinstance(value, str):
            if not (found := re.fullmatch(r"\s*uniform\(([^,]*),([^,]*)\)\s*", value)):
                raise ValueError(value)
            low, high = found.groups()
        spread = cls(float(low), float(high))
        if not 0 <= spread.low <= spread.high <= 1:
            raise ValueError(value)
        return spread


def depths(value: int | str) -> range:
    """Return the numbers of layers in ``3``, or in ``"1..3"``, where each client has its own."""
    low, _, high = value.partition("..") if isinstance(value, str) else (value, "", value)
    found = range(int(low), int(high) + 1)
    if not found or found[0] < 1:
        raise ValueError(value)
    return found


def labels(text: str) -> tuple[int, ...]:
    """Return the labels in ``"all"``, which are 0 to 9, or in a list of two or more of them."""
    found = tuple(range(10)) if text == "all" else tuple(int(part) for part in text.split(","))
    if len(found) < 2 or len(set(found)) < len(found) or not set(found) <= set(range(10)):
        raise ValueError(text)
    return found


def names(text: str) -> tuple[str, ...]:
    """Return the labels in ``"all"``, which are none yet, or in a list of two or more of them."""
    found = () if text == "all" else tuple(part.strip() for part in text.split(","))
    if len(found) == 1 or len(set(found)) < len(found) or "" in found:
        raise ValueError(text)
    return found


def box(text: str) -> tuple[float, float] | None:
    """Return the two ends in ``"bounds(low, high)"``; None in any other name."""
    if not (found := re.fullmatch(r"bounds\(([^,]*),([^,]*)\)", text)):
        if text not in ("auto", "bounds", "standardised", "pca") and ":" not in text:
            raise ValueError(text)
        return None
    low, high = float(found[1]), float(found[2])
    if not -1e30 < low < high < 1e30:
        raise ValueError(text)
    return low, high


def device(text: str) -> int:
    """Return the number of the GPU in ``"cuda:1"``; 0 for ``"cuda"`` and for ``"cpu"``."""
    if not (found := re.fullmatch(r"cpu|cuda(:[0-9]{1,3})?", text)):
        raise ValueError(text)
    return int((found[1] or ":0")[1:])


def inputs(value: int | str) -> int | str:
    """Return what experts see: a name, or a number of principal components."""
    if value not in ("router", "all", "standardised") and int(value) < 1:
        raise ValueError(value)
    return value


def sizes(text: str) -> list[int]:
    """Return the numbers in a list, none negative, each once, ascending."""
    found = sorted({int(part) for part in text.split(",")})
    if found[0] < 0:
        raise ValueError(text)
    return found
