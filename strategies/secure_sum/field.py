"""Shamir's secret sharing of integer vectors over a prime field, all clients at once.

A share is the value of a random polynomial of degree t - 1 at a member's point x = 1 … m, its
constant term the secret (Shamir, 1979). Sums of shares are shares of the sum. With p = 2⁵⁶ - 5 and
x ≤ 127 a step of Horner's rule, x · a + c < 2⁶⁴, never overflows.
"""

import os
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

PRIME = 2**56 - 5
MOST_MEMBERS = 127

_IN_CACHE = 1 << 15  # numbers that Horner's rule works on at a time

Source = Callable[[int], bytes]
"""Returns that many random bytes: the operating system's generator, except in tests."""

Elements = NDArray[np.uint64]


def draw(shape: tuple[int, ...], prime: int = PRIME, source: Source = os.urandom) -> Elements:
    """Return independent uniform elements of the field (by rejection, so without bias)."""
    mask = np.uint64((1 << prime.bit_length()) - 1)
    size = int(np.prod(shape))
    values = np.frombuffer(source(8 * size), dtype="<u8") & mask
    while (outside := values >= prime).any():
        again = np.frombuffer(source(8 * int(outside.sum())), dtype="<u8")
        values[outside] = again & mask
    return values.reshape(shape)


def shares(
    secrets: Elements,
    members: int,
    threshold: int,
    prime: int = PRIME,
    source: Source = os.urandom,
) -> Elements:
    """Return the shares of secrets ``(k, d)``, shape ``(k, members, d)``.

    Any ``threshold`` of a client's shares give its secret; fewer are uniform, whatever it is.
    """
    clients, size = secrets.shape
    points = np.arange(1, members + 1, dtype=np.uint64)[:, None]
    result = np.empty((clients, members, size), dtype=np.uint64)
    step = max(1, _IN_CACHE // max(1, members * size))
    for start in range(0, clients, step):
        block = slice(start, start + step)
        constant = secrets[block, None]
        values = np.zeros((len(constant), members, size), dtype=np.uint64)
        for random in draw((threshold - 1, len(constant), 1, size), prime, source):
            _horner(values, points, random, prime)
        _horner(values, points, constant, prime)
        result[block] = values
    return result


def _horner(values: Elements, points: Elements, coefficient: Elements, prime: int) -> None:
    values *= points
    values += coefficient
    values %= np.uint64(prime)


def total(values: Elements, prime: int = PRIME) -> Elements:
    """Return the sum of ``(n, …)``, n ≥ 1, over the first axis in the field."""
    while len(values) > 1:
        # 255 elements of 56 bits are less than 2⁶⁴
        starts = np.arange(0, len(values), 255)
        values = np.add.reduceat(values, starts, axis=0) % np.uint64(prime)
    return values[0] % np.uint64(prime)


def weights(points: Sequence[int], at: int, prime: int = PRIME) -> list[int]:
    """Return what values at ``points`` count for the value at ``at`` (Lagrange)."""
    result = []
    for own in points:
        others = [x for x in points if x != own]
        above = below = 1
        for x in others:
            above, below = above * (at - x) % prime, below * (own - x) % prime
        result.append(above * pow(below, -1, prime) % prime)
    return result


def interpolate(
    points: Sequence[int], values: Elements, threshold: int, prime: int = PRIME
) -> Elements:
    """Return the secrets ``(d,)`` of shares ``(r, d)`` at r ≥ ``threshold`` points.

    Raises:
        ValueError: The shares are too few, or do not lie on one polynomial.
    """
    if len(points) < threshold:
        raise ValueError(f"{len(points)} shares, {threshold} are needed")
    first = points[:threshold]
    # one random combination of the coordinates stands for all: it lies with probability 1/p
    mix = draw((values.shape[1],), prime).astype(object)
    combined = [int(row) for row in values.astype(object) @ mix % prime] if len(mix) else []
    for x, seen in zip(points[threshold:], combined[threshold:], strict=False):
        parts = zip(weights(first, x, prime), combined, strict=False)
        if sum(w * v for w, v in parts) % prime != seen:
            raise ValueError("shares do not fit each other")
    secret = np.array(weights(first, 0, prime), dtype=object) @ values[:threshold].astype(object)
    return (secret % prime).astype(np.uint64)


def from_signed(values: NDArray[np.int64], prime: int = PRIME) -> Elements:
    """Return integers in (-p/2, p/2) as elements."""
    return np.where(values < 0, values + prime, values).astype(np.uint64)


def to_signed(values: Elements, prime: int = PRIME) -> NDArray[np.int64]:
    """Return elements as the integers in (-p/2, p/2); undoes ``from_signed``."""
    integers = values.astype(np.int64)
    return np.where(integers > prime // 2, integers - prime, integers)


def width(prime: int = PRIME) -> int:
    """Return how many bytes an element takes."""
    return (prime.bit_length() + 7) // 8


def to_bytes(values: Elements, prime: int = PRIME) -> NDArray[np.uint8]:
    """Return elements ``(…, d)`` as bytes ``(…, d · width)``."""
    raw = np.ascontiguousarray(values, dtype="<u8")[..., None].view(np.uint8)
    return raw[..., : width(prime)].reshape(*values.shape[:-1], -1)


def from_bytes(raw: NDArray[np.uint8], prime: int = PRIME) -> Elements:
    """Return the elements in bytes; undoes ``to_bytes``. They may be p or more: check."""
    size = width(prime)
    wide = np.zeros((*raw.shape[:-1], raw.shape[-1] // size, 8), dtype=np.uint8)
    wide[..., :size] = raw.reshape(*wide.shape[:-1], size)
    return wide.view("<u8")[..., 0].astype(np.uint64)
