"""At which strength of noise a model breaks down, and how sure that is."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from qmoe_fed import rng
from qmoe_fed.experiments.statistics import LEVEL, Array

RESAMPLES = 2000


@dataclass(frozen=True)
class Breakdown:
    """Where the mean over seeds falls below a level, with its 95% bootstrap interval.

    Infinite: not reached. ``reached`` is the share of the resamples that reach it at all.
    """

    strength: float
    low: float
    high: float
    reached: float

    def scaled(self, unit: float) -> "Breakdown":
        """Return it with strengths in another unit."""
        return Breakdown(self.strength * unit, self.low * unit, self.high * unit, self.reached)

    def text(self, largest: float) -> str:
        """Return it for a table; ``largest`` is the largest strength that was measured."""

        def number(value: float) -> str:
            return f"> {largest:.3g}" if math.isinf(value) else f"{value:.3g}"

        if math.isinf(self.low):
            return f"not reached up to {largest:.3g}"
        return f"{number(self.strength)} [{number(self.low)}, {number(self.high)}]"


def first_below(strengths: ArrayLike, curves: Array, levels: Array) -> Array:
    """Return where curves first fall below their levels, interpolated linearly.

    Args:
        strengths: Ascending, shape ``(E,)``.
        curves: Accuracy at these, shape ``(R, E)``.
        levels: Shape ``(R,)``.

    Returns:
        Shape ``(R,)``; infinite for a curve that never falls below.
    """
    x = np.asarray(strengths, np.float64)
    below = curves < levels[:, None]
    after = below.argmax(1)
    before = np.maximum(after - 1, 0)
    rows = np.arange(len(curves))
    high, low = curves[rows, before], curves[rows, after]
    share = np.divide(high - levels, high - low, out=np.zeros_like(high), where=high > low)
    crossing: Array = x[before] + share * (x[after] - x[before])
    return np.where(below.any(1), crossing, np.inf)


def breakdown(strengths: ArrayLike, accuracy: Array, levels: Array, seed: int) -> Breakdown:
    """Return where the mean accuracy over seeds falls below the mean level over the same seeds.

    Args:
        strengths: Ascending, shape ``(E,)``.
        accuracy: Shape ``(E, S)``.
        levels: Of each seed, shape ``(S,)``.
        seed: Keys the resamples.
    """
    seeds = accuracy.shape[1]
    drawn = rng.generator(seed, "bootstrap").integers(seeds, size=(RESAMPLES, seeds))
    rows = np.concatenate([np.arange(seeds)[None], drawn])  # the first: every seed once
    found = first_below(strengths, accuracy[:, rows].mean(-1).T, levels[rows].mean(-1))
    tail = (1 - LEVEL) / 2
    # an order statistic, because infinite values cannot be interpolated
    low, high = np.quantile(found[1:], [tail, 1 - tail], method="inverted_cdf")
    reached = float(np.isfinite(found[1:]).mean())
    return Breakdown(float(found[0]), float(low), float(high), reached)
