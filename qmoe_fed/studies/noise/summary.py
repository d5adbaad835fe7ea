"""What is said of the curves: breakdown points, gains, and the content of ``results.json``."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

from qmoe_fed.circuits.channels import PLACEMENTS, depolarizing_to_qiskit
from qmoe_fed.studies.noise.breakdown import LOSS, Breakdown, breakdown
from qmoe_fed.studies.noise.fits import CIRCUITS, TRAINING_CHANNEL
from qmoe_fed.studies.noise.measure import CLEAN, NOISY, TEST, Curve
from qmoe_fed.studies.statistics import Array, mean_interval

CONVENTIONS = {
    "depolarizing": "PennyLane's p: <Z> shrinks by 1 - 4p/3; Qiskit's lambda = 4p/3",
    "amplitude-damping": "gamma: state 1 decays with this probability",
    "phase-damping": "gamma: coherences shrink by sqrt(1 - gamma)",
    "bit-flip": "p: X is applied with this probability",
    "readout-error": "p: a measured bit is read wrongly with this probability",
}
"""What epsilon means, by channel."""


@dataclass(frozen=True)
class Breakdowns:
    """Where a curve breaks down.

    Attributes:
        below_linear: Where it falls below Model A, fitted with the same learning rate.
        loses: Where it has lost ten points of what it has without noise.
    """

    below_linear: Breakdown
    loses: Breakdown


def breakdowns(curve: Curve, linear: Mapping[float, Array], seed: int) -> Breakdowns:
    """Return where a curve breaks down.

    Args:
        curve: The curve.
        linear: Test accuracy of Model A by learning rate, ``(S,)`` each.
        seed: Keys the resamples of the seeds.
    """
    below = breakdown(curve.strengths, curve.accuracy, linear[curve.learning_rate], seed)
    loses = breakdown(curve.strengths, curve.accuracy, curve.accuracy[0] - LOSS, seed)
    return Breakdowns(below, loses)


def training_pairs(curves: Sequence[Curve]) -> list[tuple[Curve, Curve]]:
    """Return what was trained without and under the noise it is tested under, exact weights.

    Ordered by circuit, placement and learning rate, as far as these are among the curves.
    """
    found = {
        (c.model, c.placement, c.learning_rate, c.protocol): c
        for c in curves
        if c.channel == TRAINING_CHANNEL and c.shots is None and c.samples == TEST
    }
    keys = product(CIRCUITS, PLACEMENTS, sorted({rate for _, _, rate, _ in found}))
    pairs = [(found.get((*key, CLEAN)), found.get((*key, NOISY))) for key in keys]
    return [(clean, noisy) for clean, noisy in pairs if clean and noisy]


def content(curves: Sequence[Curve], linear: Mapping[float, Array], seed: int) -> dict[str, Any]:
    """Return the lists ``models``, ``noise``, ``breakdown``, ``training_gain`` and ``records``.

    ``models`` holds Model A; ``noise`` a summary per curve and strength, with where its curve falls
    below Model A as ``breakdown`` (None: not reached); ``breakdown`` both points of each curve with
    intervals; ``training_gain`` what training under the noise is worth, paired over seeds, in
    [-1, 1]; ``records`` the accuracy of every seed.
    """
    models, noise, broken, records = [], [], [], []
    for rate, accuracy in linear.items():
        base = {"model": "linear", "learning_rate": rate}
        models.append({"name": "linear", "learning_rate": rate, **_spread(accuracy)})
        records += _each_seed(base, accuracy)
    for curve in curves:
        about = _describe(curve)
        at = breakdowns(curve, linear, seed) if curve.learning_rate in linear else None
        if at:
            broken.append({**about, **_breakdown("below_linear", at.below_linear)})
            broken[-1] |= _breakdown("loses_10_points", at.loses)
        for strength, accuracy in zip(curve.strengths, curve.accuracy, strict=True):
            here = {**about, "epsilon": strength}
            if curve.channel == "depolarizing":
                here["epsilon_qiskit"] = depolarizing_to_qiskit(strength)
            point = _finite(at.below_linear.strength) if at else None
            noise.append({**here, **_spread(accuracy), "breakdown": point})
            records += _each_seed(here, accuracy)
    return {
        "conventions": CONVENTIONS,
        "models": models,
        "noise": noise,
        "breakdown": broken,
        "training_gain": [entry for pair in training_pairs(curves) for entry in _gains(*pair)],
        "records": records,
    }


def _gains(clean: Curve, noisy: Curve) -> list[dict[str, Any]]:
    names = "model", "learning_rate", "placement", "channel"
    about = {name: getattr(noisy, name) for name in names}
    gains = []
    for strength in noisy.strengths:
        gain = mean_interval(noisy.at(strength) - clean.at(strength))
        here = {**about, "epsilon": strength, "gain_mean": gain.mean}
        gains.append({**here, "gain_ci95": [gain.low, gain.high]})
    return gains


def _describe(curve: Curve) -> dict[str, Any]:
    names = "model", "learning_rate", "protocol", "placement", "channel", "shots", "samples"
    return {name: getattr(curve, name) for name in names}


def _spread(accuracy: Array) -> dict[str, Any]:
    interval = mean_interval(accuracy)
    return {
        "accuracy_mean": interval.mean,
        "accuracy_ci95": [interval.low, interval.high],
        "accuracy_std": float(np.std(accuracy, ddof=1)),
        "seeds": len(accuracy),
    }


def _each_seed(about: Mapping[str, Any], accuracy: Array) -> list[dict[str, Any]]:
    return [{**about, "seed": s, "accuracy": float(value)} for s, value in enumerate(accuracy)]


def _breakdown(name: str, at: Breakdown) -> dict[str, Any]:
    return {
        name: _finite(at.strength),
        f"{name}_ci95": [_finite(at.low), _finite(at.high)],
        f"{name}_reached": at.reached,
    }


def _finite(value: float) -> float | None:
    """Return a strength, or None for one that was not reached."""
    return None if math.isinf(value) else value
