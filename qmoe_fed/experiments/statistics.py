"""What is said of K values, one per seed, and of curves over seeds."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtrit  # scipy.stats takes a second to import

from qmoe_fed import rng

Array = NDArray[np.float64]

LEVEL = 0.95  # of all intervals
RESAMPLES = 2000  # behind bootstrap intervals


@dataclass(frozen=True)
class Interval:
    """A mean over seeds, or what follows from it, and the interval that goes with it."""

    mean: float
    low: float
    high: float

    @property
    def half(self) -> float:
        """Half its width."""
        return (self.high - self.low) / 2

    @property
    def sign(self) -> int:
        """1 or -1 if the whole interval is above or below zero, else 0."""
        return (self.low > 0) - (self.high < 0)

    def scaled(self, unit: float) -> "Interval":
        """Return it in another unit."""
        return Interval(self.mean * unit, self.low * unit, self.high * unit)


def mean_interval(values: ArrayLike) -> Interval:
    """Return the mean of K ≥ 2 values and its 95% confidence interval by Student's t."""
    return _interval(values, 0)


def run_interval(values: ArrayLike) -> Interval:
    """Return the mean of K ≥ 2 values and the 95% prediction interval of one more run.

    A number published without a spread is such a run.
    """
    return _interval(values, 1)


def _interval(values: ArrayLike, more: int) -> Interval:
    x = np.asarray(values, np.float64)
    mean, spread = float(x.mean()), float(x.std(ddof=1))
    half = float(stdtrit(len(x) - 1, (1 + LEVEL) / 2)) * spread * math.sqrt(more + 1 / len(x))
    return Interval(mean, mean - half, mean + half)


def efficiency(accuracy: float, parameters: int) -> float:
    """Return η = accuracy / ln(1 + P) (paper, section V-C), accuracy in [0, 1].

    NaN without parameters, where the formula divides by zero.
    """
    return accuracy / math.log1p(parameters) if parameters else math.nan


def accuracy(predicted: NDArray[np.int64], y: NDArray[np.int64]) -> Array:
    """Return the share of samples classified right, ``(K,)``, from classes ``(K, M)``."""
    return (predicted == y).mean(1)


def macro_f1(predicted: NDArray[np.int64], y: NDArray[np.int64], classes: int) -> Array:
    """Return the mean over classes of the F1 score, ``(K,)``, from classes ``(K, M)``.

    A class that is neither there nor predicted counts as 0, as in scikit-learn.
    """
    label = np.arange(classes)
    guessed, true = predicted[..., None] == label, y[..., None] == label  # (K, M, C)
    total = guessed.sum(1) + true.sum(1)
    scores: Array = 2 * (guessed & true).sum(1) / np.maximum(total, 1)
    return scores.mean(1)


def first_epoch(curve: Array, target: float) -> Array:
    """Return the first epoch, from 1, at which curves ``(K, E)`` reach a target; NaN for never."""
    reached = curve >= target
    return np.where(reached.any(1), reached.argmax(1) + 1.0, np.nan)


def first_below(strengths: ArrayLike, curves: Array, levels: Array) -> Array:
    """Return where curves first fall below their levels, interpolated linearly.

    Strengths ascend, ``(E,)``; curves have the shape ``(R, E)``, levels and what is returned
    ``(R,)``, which is infinite for a curve that never falls below.
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


def breakdown(strengths: ArrayLike, accuracy: Array, levels: Array, seed: int) -> Interval:
    """Return at which strength of noise the mean accuracy over seeds falls below the mean level.

    The strength, infinite if it is not reached, comes with its 95% bootstrap interval over seeds,
    whose resamples ``seed`` keys. Strengths ascend, ``(E,)``; accuracy has the shape ``(E, S)``,
    levels, of the same seeds, ``(S,)``.
    """
    seeds = accuracy.shape[1]
    drawn = rng.generator(seed, "bootstrap").integers(seeds, size=(RESAMPLES, seeds))
    rows = np.concatenate([np.arange(seeds)[None], drawn])  # the first: every seed once
    found = first_below(strengths, accuracy[:, rows].mean(-1).T, levels[rows].mean(-1))
    tail = (1 - LEVEL) / 2
    # an order statistic, because infinite values cannot be interpolated
    low, high = np.quantile(found[1:], [tail, 1 - tail], method="inverted_cdf")
    return Interval(float(found[0]), float(low), float(high))
