"""Vectors as integers: clipped, scaled, rounded at random, and back."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from strategies.secure_sum import field

HEAD_ROOM = 12  # standard deviations of the noise on a sum that may not overflow


@dataclass(frozen=True)
class Block:
    """Some neighbouring coordinates of the vectors.

    The update is one block; a loss or a number of examples is a block of one.

    Attributes:
        size: How many coordinates.
        clip: L2 norm to which a client's block is clipped, in the unit of the values.
        bits: f: a value v becomes the integer 2^f · v, rounded.
        noise: Standard deviation per coordinate, in the unit of the values, of all noise that
            clients add to the integers together; 0 if none.
    """

    size: int
    clip: float
    bits: int = 24
    noise: float = 0.0

    @property
    def limit(self) -> int:
        """The largest absolute value of a client's integers, noise not counted."""
        return math.floor(self.clip * 2.0**self.bits) + 1

    def largest(self, clients: int) -> int:
        """Return a bound on the absolute value of the sum of so many clients' integers."""
        return clients * self.limit + math.ceil(HEAD_ROOM * self.noise * 2.0**self.bits)


def columns(blocks: Sequence[Block], clients: int) -> NDArray[np.int64]:
    """Return ``Block.largest`` by coordinate, ``(d,)``."""
    return np.repeat([b.largest(clients) for b in blocks], [b.size for b in blocks])


def clip_rows(values: NDArray[np.float64], norm: float) -> NDArray[np.float64]:
    """Return rows ``(k, d)``, those longer than ``norm`` shortened to it (L2)."""
    largest = np.abs(values).max(axis=1, initial=0.0, keepdims=True)
    unit = values / np.where(largest > 0, largest, 1.0)  # squares of large values would overflow
    length = np.linalg.norm(unit, axis=1, keepdims=True)
    inside = largest <= norm / np.maximum(length, 1.0)
    return np.where(inside, values, unit * (norm / np.maximum(length, 1.0)))


def quantise(
    values: NDArray[np.float64],
    blocks: Sequence[Block],
    draws: NDArray[np.float64] | None = None,
) -> NDArray[np.int64]:
    """Return clipped values ``(k, d)`` times 2^f, rounded up or down at random, unbiased.

    Args:
        values: One row per client.
        blocks: What the rows consist of.
        draws: Uniform in [0, 1), ``(k, d)``; the operating system's if none are given. They hide
            nothing and may be known: a round that is run again is then rounded alike.

    Raises:
        ValueError: A value is not finite, or the blocks do not have d coordinates.
    """
    if not np.isfinite(values).all():
        raise ValueError("a value is not finite: leave such clients out before")
    sizes = [block.size for block in blocks]
    if values.shape[1] != sum(sizes):
        raise ValueError(f"{values.shape[1]} coordinates, the blocks have {sum(sizes)}")
    uniform = field.draw(values.shape, 2**53) * 2.0**-53 if draws is None else draws
    parts = np.split(values, np.cumsum(sizes)[:-1], axis=1)
    clipped = [clip_rows(v, block.clip) for v, block in zip(parts, blocks, strict=True)]
    scaled = np.hstack(clipped) / scales(blocks)
    floor = np.floor(scaled)
    integers = floor.astype(np.int64) + (uniform < scaled - floor)
    # by construction, whatever the arithmetic of floating point does
    limits = np.repeat([block.limit for block in blocks], sizes)
    return np.clip(integers, -limits, limits)


def scales(blocks: Sequence[Block]) -> NDArray[np.float64]:
    """Return what an integer of 1 is worth by coordinate, ``(d,)``."""
    return np.repeat([2.0**-block.bits for block in blocks], [block.size for block in blocks])


def dequantise(sums: NDArray[np.int64], blocks: Sequence[Block]) -> NDArray[np.float64]:
    """Return sums of integers ``(d,)`` in the unit of the values."""
    return sums * scales(blocks)
