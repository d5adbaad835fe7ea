"""Lower bounds of ε from the scores of an attack, at a level of confidence.

An attacker who tells a canary's presence from its score with false positive rate F and false
negative rate N refutes every (ε, δ) with ε < ln((1 - N - δ) / F). F and N are taken at their
Clopper–Pearson upper bounds, half of the permitted error each. The threshold is chosen on other
runs than it is judged by, so that nothing is gained by choosing.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq
from scipy.special import bdtrc, betaincinv, log_ndtr, ndtri

Array = NDArray[np.float64]

CHOICE = 5
"""One of so many runs chooses the threshold, the others judge it."""

LARGEST = 200.0
"""ε beyond which nothing is told apart."""


@dataclass(frozen=True)
class Bounds:
    """What ε is at least, with confidence.

    Attributes:
        gaussian: If both releases are Gaussians of equal spread (μ-GDP; Nasr et al., "Tight
            auditing of differentially private machine learning", 2023): close to the truth.
        clopper_pearson: Whatever the releases are: never close to it.
    """

    gaussian: float
    clopper_pearson: float


def lower_bounds(
    absent: ArrayLike, present: ArrayLike, delta: float, confidence: float = 0.95
) -> Bounds:
    """Return what ε is at least, from scores ``(runs,)`` without and with a canary.

    Scores are larger where the canary is thought to be present; runs are independent, and at least
    10 of each kind.
    """
    without, with_it = np.asarray(absent, np.float64), np.asarray(present, np.float64)
    chosen = without[::CHOICE], with_it[::CHOICE]
    judged = np.delete(without, np.s_[::CHOICE]), np.delete(with_it, np.s_[::CHOICE])
    middle = (chosen[0].mean() + chosen[1].mean()) / 2  # where Gaussians err equally often
    grid = np.quantile(np.concatenate(chosen), np.linspace(0, 1, 201))
    plain = [plain_bound(*error_rates(*chosen, t, confidence), delta) for t in grid]
    best = grid[int(np.argmax(plain))]
    return Bounds(
        gaussian_bound(*error_rates(*judged, middle, confidence), delta),
        plain_bound(*error_rates(*judged, best, confidence), delta),
    )


def error_rates(
    absent: Array, present: Array, threshold: float, confidence: float
) -> tuple[float, float]:
    """Return upper bounds of the false positive and false negative rates above a threshold."""
    tail = (1 - confidence) / 2
    wrong = (absent >= threshold).sum(), (present < threshold).sum()
    false_positive, false_negative = (
        1.0 if k == len(s) else float(betaincinv(k + 1, len(s) - k, 1 - tail))
        for k, s in zip(wrong, (absent, present), strict=True)
    )
    return false_positive, false_negative


def plain_bound(false_positive: float, false_negative: float, delta: float) -> float:
    """Return the ε that error rates refute, at least 0 (Kairouz, Oh & Viswanath, 2015)."""
    power = 1 - false_negative - delta
    return max(0.0, math.log(power / false_positive)) if power > 0 else 0.0


def gaussian_bound(false_positive: float, false_negative: float, delta: float) -> float:
    """Return the ε at δ of the μ-GDP mechanism with these error rates, at least 0."""
    return gaussian_epsilon(float(-ndtri(false_positive) - ndtri(false_negative)), delta)


def gaussian_epsilon(mu: float, delta: float) -> float:
    """Return ε(δ) of μ-GDP, 0 for μ ≤ 0 (Dong, Roth & Su, "Gaussian differential privacy", 2022).

    δ(ε) = Φ(-ε/μ + μ/2) - e^ε Φ(-ε/μ - μ/2).
    """

    def excess(epsilon: float) -> float:
        first, second = -epsilon / mu + mu / 2, -epsilon / mu - mu / 2
        return float(np.exp(log_ndtr(first)) - np.exp(epsilon + log_ndtr(second))) - delta

    if mu <= 0 or excess(0.0) <= 0:
        return 0.0
    return float(brentq(excess, 0.0, LARGEST)) if excess(LARGEST) < 0 else LARGEST


def one_run_bound(
    right: int, guesses: int, canaries: int, delta: float, confidence: float = 0.95
) -> float:
    """Return what ε is at least if so many guesses on a run's canaries are right.

    Each of m canaries took part by the toss of a coin of its own (Steinke, Nasr & Jagielski,
    "Privacy auditing with one (1) training run", 2023, Theorem 5.2).
    """

    def chance(epsilon: float) -> float:
        q = 1 / (1 + math.exp(-epsilon))
        at_least = bdtrc(right - 1 - np.arange(right + 1), guesses, q) if right else np.ones(1)
        at_least[-1] = 1.0  # at least none
        more = (at_least[1:] - at_least[0]) / np.arange(1, right + 1)
        return float(at_least[0] + 2 * canaries * delta * more.max(initial=0.0))

    error = 1 - confidence
    if chance(0.0) > error:
        return 0.0
    return float(brentq(lambda epsilon: chance(epsilon) - error, 0.0, LARGEST))
