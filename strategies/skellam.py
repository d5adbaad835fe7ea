"""Skellam noise on sums of integer vectors: rounding, drawing, accounting.

Skellam numbers of variance μ are differences of two Poisson numbers of mean μ/2 each. Sums of them
are Skellam again, so that each of many clients can add a share of the noise. Source: Agarwal,
Kairouz & Liu, "The Skellam mechanism for differentially private federated learning", 2021.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from strategies.secure_sum.fixed_point import Block, quantise

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

Draw = Callable[[int], Floats]
"""Returns the uniform numbers in [0, 1) of a try, from 0; each try has others, of one shape."""

LEAST_VARIANCE = 200.0
"""Of a client's noise: below, the sampler would not be exact to nine digits."""

ORDERS = np.unique(np.concatenate([np.arange(2, 513), np.geomspace(512, 2**20, 200).astype(int)]))
"""α of the Rényi divergences: whole numbers, for which the bound is proved."""


@dataclass(frozen=True)
class Release:
    """A sum of integer vectors with noise, released once.

    Attributes:
        norm: Δ₂, the L2 norm that one client's vector has at most.
        size: d, the number of coordinates.
        variance: μ, of the noise on each coordinate.
    """

    norm: float
    size: int
    variance: float

    def divergence(self) -> Floats:
        """Return ε(α) for all ``ORDERS``, where a client's vector may become zero (Theorem 3.5).

        Δ₁ ≤ min(√d · Δ₂, Δ₂²), since the numbers are whole.
        """
        square, mu = self.norm**2, self.variance
        absolute = min(math.sqrt(self.size) * self.norm, square)
        small = ((2 * ORDERS - 1) * square + 6 * absolute) / (4 * mu**2)
        bound: Floats = ORDERS * square / (2 * mu) + np.minimum(small, 3 * absolute / (2 * mu))
        return bound


@lru_cache(maxsize=1024)
def epsilon(releases: tuple[tuple[Release, int], ...], delta: float) -> float:
    """Return the ε at δ that releases spend together, each so many times."""
    # imported late, see ``gaussian``
    from dp_accounting.rdp.rdp_privacy_accountant import compute_epsilon

    if not any(times for _, times in releases):
        return 0.0
    spent = sum((times * one.divergence() for one, times in releases), np.zeros(len(ORDERS)))
    return float(compute_epsilon(ORDERS.tolist(), spent.tolist(), delta)[0])


def longest(norm: float, size: int) -> float:
    """Return the norm that a vector ``(d,)`` of this norm may have once it is rounded.

    A random rounding is as short with probability 1 - e^(-1/2) or more (Kairouz, Liu & Steinke,
    "The distributed discrete Gaussian mechanism", 2021, Proposition 22); others are drawn again.
    """
    root = math.sqrt(size)
    return min(norm + root, math.sqrt(norm**2 + size / 4 + norm + root / 2))


def rounded(rows: Floats, blocks: Sequence[Block], norm: float, draw: Draw) -> Integers:
    """Return ``quantise(rows, blocks)``, ``(k, d)``, no row longer than a norm, of integers.

    Args:
        rows: Values, a row per client.
        blocks: What they consist of.
        norm: As ``longest`` returns it.
        draw: For rounding, ``(k, d)``: they may be known.
    """
    integers, number = quantise(rows, blocks, draw(0)), 0
    while (long := (integers**2).sum(1) > norm**2).any():
        number += 1
        integers[long] = quantise(rows, blocks, draw(number))[long]
    return integers


def noise(variance: float, draw: Draw) -> Integers:
    """Return Skellam numbers, ``(k, d)``.

    Poisson numbers are drawn by transformed rejection (Hörmann, "The transformed rejection method
    for generating Poisson random variables", 1993, algorithm PTRS), with a density that is exact
    to nine digits however large the mean (Loader's form of it).

    Args:
        variance: At least ``LEAST_VARIANCE``.
        draw: Uniform numbers, ``(k, 4, d)``: whoever knows them knows the noise.
    """

    def halves(number: int) -> Floats:
        values = draw(number)
        return values.reshape(len(values), 2, 2, values.shape[2]) + 2.0**-54  # never 0

    mean = variance / 2
    b = 0.931 + 2.53 * math.sqrt(mean)
    a = 0.02483 * b - 0.059
    scale, sure = 1.1239 + 1.1328 / (b - 3.4), 0.9277 - 3.6224 / (b - 2)
    first = halves(0)
    counts = np.full(first[:, 0].shape, -1.0)
    number = 0
    while (open_ := counts < 0).any():
        u, v = (first if not number else halves(number)).swapaxes(0, 1)
        u = u - 0.5
        side = np.maximum(0.5 - np.abs(u), 2.0**-54)
        k = np.floor((2 * a / side + b) * u + mean + 0.43)
        taken = open_ & (side >= 0.07) & (v <= sure)
        asked = open_ & ~taken & (k >= 1) & ((side >= 0.013) | (v <= side))
        x, kept = (k[asked] - mean) / mean, k[asked]
        density = -0.5 * np.log(2 * np.pi * kept) - 1 / (12 * kept)
        density -= mean * ((1 + x) * np.log1p(x) - x)
        height = np.log(v[asked] * scale / (a / side[asked] ** 2 + b))
        taken[asked] = height <= density
        counts[taken] = k[taken]
        number += 1
    whole: Integers = counts.astype(np.int64)
    return whole[:, 0] - whole[:, 1]
