"""The noise study's curves as pictures: accuracy by strength of the noise."""

import math
from collections.abc import Callable, Sequence
from functools import partial
from itertools import cycle

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MultipleLocator
from noise_tables import CLEAN, NOISY, PUBLISHED, TABLE_II, Curve, Noise
from qmoe_fed.circuits.channels import PLACEMENTS, depolarizing_from_qiskit, depolarizing_to_qiskit

from qmoe_fed.experiments.statistics import mean_interval
from qmoe_fed.experiments.views.lines import Level, Panel, Series, draw_panels
from qmoe_fed.results.figures import style

STRENGTH = "depolarizing p (PennyLane: ⟨Z⟩ × (1 - 4p/3))"
PLACES = {"gate": "after every gate", "notebook": "after the embedding and at the end"}
KINDS = {CLEAN: "trained without noise", NOISY: "trained under the noise"}
COLORS = style.BLUE, style.VERMILLION, style.GREEN, style.PURPLE, style.ORANGE
LINES = {
    ("quantum", CLEAN): ("B: quantum", style.BLUE),
    ("quantum", NOISY): ("B: quantum", style.VERMILLION),
    ("reuploading", CLEAN): ("B, re-uploading", style.GREEN),
    ("reuploading", NOISY): ("B, re-uploading", style.PURPLE),
}
Parts = list[Series | Level]


def draw(study: Noise) -> dict[str, Figure]:
    """Return all pictures by name."""
    placed = partial(_grid, study, PLACES)
    return {
        "accuracy_by_noise": placed(partial(_placements, study), STRENGTH, 3),
        "accuracy_by_channel": placed(partial(_channels, study), "p or γ of the channel", 3),
        "accuracy_by_shots": _grid(study, KINDS, partial(_shots, study), STRENGTH, 5),
    }


def _placements(study: Noise, rate: float, placement: str) -> Parts:
    """Return training without and under noise, breakdown points and the paper's Table II."""
    parts: Parts = []
    for (model, protocol), (label, color) in LINES.items():
        (curve,) = study.select(
            model=model,
            protocol=protocol,
            placement=placement,
            channel="depolarizing",
            shots=0,
            rate=rate,
        )
        parts.append(_line(curve, color, f"{label}, {KINDS[protocol]}"))
        for found, marker in ((study.below_linear(curve), "v"), (study.loses(curve), "s")):
            at = [found.strength] if math.isfinite(found.strength) else []
            level = np.interp(at, curve.strengths, 100 * curve.accuracy.mean(1))
            parts.append(Series("_", at, level, color, style="none", marker=marker))
    for label, marker in (("falls below A", "v"), ("ten points lost", "s")):
        parts.append(Series(label, [], [], style.GREY, style="none", marker=marker))
    if placement == "gate":
        paper = [100 * PUBLISHED[f"noise-{rate:g}"].value for rate in TABLE_II]
        as_qiskit = [depolarizing_from_qiskit(rate) for rate in TABLE_II]
        for x, marker, name in ((TABLE_II, "x", "p"), (as_qiskit, "+", "λ = 4p/3")):
            label = f"paper's Table II, rate read as {name}"
            parts.append(Series(label, x, paper, style.BLACK, style="none", marker=marker))
    return parts


def _channels(study: Noise, rate: float, placement: str) -> Parts:
    """Return every channel for the paper's circuit, trained without noise."""
    curves = study.select(model="quantum", protocol=CLEAN, shots=0)
    colors = dict(zip(dict.fromkeys(c.channel for c in curves), COLORS, strict=False))
    return [
        _line(curve, colors[curve.channel], curve.channel.replace("-", " "))
        for curve in curves
        if curve.rate == rate
        and (curve.placement == placement or curve.placement not in PLACEMENTS)
    ]


def _shots(study: Noise, rate: float, protocol: str) -> Parts:
    """Return finite shots for the paper's circuit, noise after every gate; exact ones on top."""
    curves = study.select(model="quantum", placement="gate", channel="depolarizing", rate=rate)
    own = sorted((c for c in curves if c.protocol == protocol), key=lambda c: c.shots or math.inf)
    return [
        _line(curve, color, f"{curve.shots:,} shots")
        if curve.shots
        else _line(curve, style.BLACK, "exact probabilities", ":")
        for curve, color in zip(own, cycle(COLORS), strict=False)
    ]


def _line(curve: Curve, color: str, label: str, look: str = "-") -> Series:
    found = [mean_interval(100 * values) for values in curve.accuracy]
    mean, low, high = ([getattr(i, end) for i in found] for end in ("mean", "low", "high"))
    return Series(label, curve.strengths, mean, color, low, high, look)


def _grid(
    study: Noise,
    titles: dict[str, str],
    parts: Callable[[float, str], Parts],
    x: str,
    legend_columns: int,
) -> Figure:
    """Draw a row of panels per learning rate, a column per key of ``titles``."""
    panels: list[Sequence[Panel]] = []
    for rate, accuracy in study.linear.items():
        a = mean_interval(100 * accuracy)
        first, last = not panels, len(panels) == len(study.linear) - 1
        panels.append(
            [
                Panel(
                    [Level("A: linear", a.mean, style.GREY, a.low, a.high), *parts(rate, key)],
                    title if first else "",
                    x if last else "",
                    "test accuracy (%)" if key == next(iter(titles)) else "",
                    partial(_finish, rate=rate, scale=first and x == STRENGTH),
                )
                for key, title in titles.items()
            ]
        )
    return draw_panels(panels, 1.2 + 1.9 * len(panels), columns=legend_columns)


def _finish(ax: Axes, rate: float, scale: bool) -> None:
    ax.text(0.02, 0.04, f"learning rate {rate:g}", transform=ax.transAxes, fontsize=style.SMALL)
    ax.set_ylim(max(0, ax.get_ylim()[0]), 101)
    ax.xaxis.set_major_locator(MultipleLocator(0.05))
    if scale:
        top = ax.secondary_xaxis(
            "top", functions=(depolarizing_to_qiskit, depolarizing_from_qiskit)
        )
        top.set_xlabel("λ (Qiskit: ⟨Z⟩ × (1 - λ))", fontsize=style.SMALL)
        top.tick_params(labelsize=style.SMALL, length=2.5, width=style.THIN)
