"""The noise study's rows as curves and tables, and the published numbers beside them."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
from qmoe_fed.circuits.channels import PLACEMENTS, depolarizing_from_qiskit

from qmoe_fed.experiments.breakdown import Breakdown, breakdown
from qmoe_fed.experiments.measures.noise import MEASUREMENT, TEST, TRAINING
from qmoe_fed.experiments.statistics import Array
from qmoe_fed.experiments.views.published import Line, Ours, comparison, read_published
from qmoe_fed.experiments.views.tables import Table, difference, percent

PUBLISHED = read_published(Path(__file__).with_name("published.toml"))
TABLE_II = 0.0, 0.005, 0.01, 0.02, 0.03  # error rates
NOTEBOOK_STRENGTHS = 0.0, 0.02, 0.05, 0.1, 0.15, 0.2
LOSS = 0.10  # of accuracy since no noise: the second criterion of breakdown
SHOWN = 0.0, 0.01, 0.02, 0.05, 0.1, 0.2  # strengths with a column, if they were measured
LABELS = {"linear": "A: linear", "quantum": "quantum", "reuploading": "re-uploading"}
CLEAN, NOISY = "trained-clean", "trained-noisy"
CONVENTION = "Depolarizing strengths are PennyLane's p: ⟨Z⟩ shrinks by 1 - 4p/3; Qiskit's λ = 4p/3."
READINGS: dict[str, Callable[[float], float]] = {"p": float, "λ": depolarizing_from_qiskit}


@dataclass(frozen=True)
class Curve:
    """Accuracy by strength of the noise.

    Attributes:
        model: Name of the model.
        rate: Learning rate.
        protocol: ``CLEAN`` or ``NOISY``: trained without noise, or under that of the test.
        placement: Where the noise acts.
        channel: Which noise.
        shots: Of a routing weight; 0 for exact weights.
        samples: What accuracy is measured on.
        strengths: Of the noise, E of them, ascending.
        accuracy: In [0, 1], shape ``(E, S)``, S seeds.
    """

    model: str
    rate: float
    protocol: str
    placement: str
    channel: str
    shots: int
    samples: str
    strengths: tuple[float, ...]
    accuracy: Array

    def at(self, strength: float) -> Array:
        """Return the accuracy of every seed at one of the strengths, ``(S,)``."""
        row: Array = self.accuracy[int(np.argmin(np.abs(np.array(self.strengths) - strength)))]
        return row

    @property
    def name(self) -> str:
        """What tells it from the others of its table."""
        what = [LABELS[self.model]]
        if self.shots:
            what.append(f"{self.shots} shots")
        elif self.channel != "depolarizing":
            what = [self.channel]
        if not self.shots and self.placement != MEASUREMENT:
            what.append(self.placement)
        if self.channel == "depolarizing":
            what.append(self.protocol.removeprefix("trained-"))
        return ", ".join(what)


@dataclass(frozen=True)
class Noise:
    """What was measured.

    Attributes:
        rows: Of all cells.
        seed: Keys the resamples behind the breakdown points.
    """

    rows: pd.DataFrame
    seed: int

    @cached_property
    def linear(self) -> dict[float, Array]:
        """Test accuracy of Model A by learning rate, ``(S,)`` each; it knows no noise."""
        own = self.rows[self.rows["model"] == "linear"]
        return {rate: frame["accuracy"].to_numpy() for rate, frame in own.groupby("rate")}

    @cached_property
    def curves(self) -> list[Curve]:
        """All curves, Model B's first, those trained without noise first."""
        names = ["model", "rate", "protocol", "placement", "channel", "shots", "samples"]
        rows = self.rows[self.rows["model"] != "linear"]
        rows = rows.assign(shots=rows["shots"].fillna(0).astype(int))
        found = []
        for about, frame in rows.groupby(names, sort=False):
            wide = frame.pivot(index="strength", columns="seed", values="accuracy").sort_index()
            found.append(Curve(*about, tuple(wide.index), wide.to_numpy()))
        return sorted(found, key=lambda c: (c.model != "quantum", c.protocol != CLEAN, c.shots))

    def select(self, **values: object) -> list[Curve]:
        """Return the curves measured on test samples that have these attributes."""
        wanted = {"samples": TEST, **values}.items()
        return [c for c in self.curves if all(getattr(c, k) == v for k, v in wanted)]

    def below_linear(self, curve: Curve) -> Breakdown:
        """Return where a curve falls below Model A, fitted with the same learning rate."""
        level = self.linear[curve.rate]
        return breakdown(curve.strengths, curve.accuracy, level, self.seed)

    def loses(self, curve: Curve) -> Breakdown:
        """Return where a curve has lost ten points of what it has without noise."""
        return breakdown(curve.strengths, curve.accuracy, curve.accuracy[0] - LOSS, self.seed)

    def pairs(self) -> list[tuple[Curve, Curve]]:
        """Return what was trained without and under the noise it is tested under, exact weights."""
        return [
            (clean, noisy)
            for model in ("quantum", "reuploading")
            for placement in PLACEMENTS
            for rate in self.linear
            for both in [{"model": model, "placement": placement, "rate": rate, "shots": 0}]
            for clean in self.select(**both, channel="depolarizing", protocol=CLEAN)
            for noisy in self.select(**both, channel="depolarizing", protocol=NOISY)
        ]


def tables(study: Noise) -> list[Table]:
    """Return all tables."""
    own = [curve for curve in study.select() if curve.model != "notebook"]
    groups = {
        "Depolarizing noise (PennyLane's p)": [
            c for c in own if c.channel == "depolarizing" and not c.shots
        ],
        "Other channels": [c for c in own if c.channel != "depolarizing"],
        "Finite shots, depolarizing noise after every gate (PennyLane's p)": [
            c for c in own if c.shots and c.placement == "gate"
        ],
    }
    return [
        *(_accuracy(study, title, c, rate) for title, c in groups.items() for rate in study.linear),
        *(_breakdowns(study, title, c) for title, c in groups.items()),
        _gains(study),
        *(_table_ii(study, protocol) for protocol in (CLEAN, NOISY)),
        _notebook(study),
    ]


def _shown(curves: Iterable[Curve]) -> list[float]:
    own = list(curves)
    return [s for s in SHOWN if all(s in curve.strengths for curve in own)]


def _accuracy(study: Noise, title: str, curves: list[Curve], rate: float) -> Table:
    own = [curve for curve in curves if curve.rate == rate]
    columns = _shown(own)
    rows = [(LABELS["linear"], *[percent(study.linear[rate])] * len(columns))]
    rows += [(curve.name, *(percent(curve.at(s)) for s in columns)) for curve in own]
    note = (
        "Test accuracy in % by strength of the noise: mean ± half its 95% confidence interval over "
        f"seeds (Student's t). {CONVENTION}"
    )
    header = ("at strength", *(f"{s:g}" for s in columns))
    return Table(f"{title}, learning rate {rate:g}", header, rows, note)


def _breakdowns(study: Noise, title: str, curves: list[Curve]) -> Table:
    rows = [
        (
            curve.name,
            f"{curve.rate:g}",
            *(
                at.text(curve.strengths[-1])
                for at in (study.below_linear(curve), study.loses(curve))
            ),
        )
        for curve in curves
    ]
    note = (
        "Where the mean over seeds falls below that of Model A fitted with the same learning rate, "
        "and below what it is without noise less ten points; linear interpolation, 95% bootstrap "
        f"interval over seeds. {CONVENTION}"
    )
    header = ("", "learning rate", "falls below A at", "10 points lost at")
    return Table(f"Breakdown: {title[0].lower()}{title[1:]}", header, rows, note)


def _gains(study: Noise) -> Table:
    pairs = study.pairs()
    columns = [s for s in _shown(noisy for _, noisy in pairs) if s]
    rows = []
    for clean, noisy in pairs:
        gains = (difference(noisy.at(s) - clean.at(s)) for s in columns)
        rows.append((LABELS[noisy.model], noisy.placement, f"{noisy.rate:g}", *gains))
    note = (
        "Test accuracy trained under the noise less that trained without it, both tested under it, "
        f"in points: mean ± half its 95% confidence interval, paired over seeds. {CONVENTION}"
    )
    header = ("", "placement", "learning rate", *(f"{s:g}" for s in columns))
    title = "What training under depolarizing noise is worth (PennyLane's p)"
    return Table(title, header, rows, note, 2)


def _table_ii(study: Noise, protocol: str) -> Table:
    main = {"model": "quantum", "channel": "depolarizing", "placement": "gate", "shots": 0}
    cases = {
        f"lr {curve.rate:g}, {name}": (curve, strength)
        for curve in study.select(**main, protocol=protocol)
        for name, strength in READINGS.items()
    }

    def line(name: str, read: Callable[[Curve, Callable[[float], float]], Ours]) -> Line:
        largest = {case: curve.strengths[-1] / unit(1.0) for case, (curve, unit) in cases.items()}
        ours = {case: read(*about) for case, about in cases.items()}
        return Line(PUBLISHED[name], ours, largest=largest)

    def lost(curve: Curve, strength: Callable[[float], float]) -> Array:
        return curve.at(0.0) - curve.at(strength(max(TABLE_II)))

    lines = [
        line(f"noise-{rate:g}", lambda curve, strength, rate=rate: curve.at(strength(rate)))
        for rate in TABLE_II
    ]
    lines += [
        line("noise-lost", lost),
        line("noise-linear", lambda curve, strength: study.linear[curve.rate]),
        line("noise-breakdown", lambda c, unit: study.below_linear(c).scaled(1 / unit(1.0))),
        line("noise-ten-points", lambda c, unit: study.loses(c).scaled(1 / unit(1.0))),
    ]
    kind = {CLEAN: "trained without noise", NOISY: "trained under the noise"}[protocol]
    return comparison(
        f"Paper's Table II (depolarizing after every gate) beside ours, {kind}",
        lines,
        "; ".join(cases),
        "The paper's error rate read as PennyLane's p (⟨Z⟩ × (1 - 4p/3)) or as Qiskit's λ "
        "(⟨Z⟩ × (1 - λ), p = 3λ/4); breakdown points are in the unit of their reading. Accuracies "
        "and points in %: mean ± half the 95% prediction interval of one more run, which is what "
        "a number printed without a spread is. A number agrees if it lies in that interval, a "
        "breakdown point if it lies in its bootstrap interval.",
        run=True,
    )


def _notebook(study: Noise) -> Table:
    (own,) = study.select(model="notebook", samples=TRAINING)
    (test,) = study.select(model="notebook")
    lines = [
        Line(
            PUBLISHED[f"notebook-{p:g}"],
            {"": own.at(p)},
            f"ours on test samples {percent(test.at(p), True)}",
        )
        for p in NOTEBOOK_STRENGTHS
    ]
    return comparison(
        "The notebook on noise beside ours, trained under the noise",
        lines,
        "training samples",
        "Their circuit, their placement (each wire after the embedding and at the end), learning "
        "rate 0.05, 20 epochs. Accuracy in %; ours: mean ± half the 95% prediction interval of one "
        "more run, by which the number for the training samples is judged.",
        run=True,
    )
