"""Pictures of the study: accuracy by strength of the noise."""

import math
from collections.abc import Mapping, Sequence
from itertools import cycle

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MultipleLocator

from qmoe_fed.circuits.channels import PLACEMENTS, depolarizing_from_qiskit, depolarizing_to_qiskit
from qmoe_fed.results.figures.style import (
    BLACK,
    BLUE,
    GREEN,
    GREY,
    LINE,
    ORANGE,
    PAGE,
    PURPLE,
    SMALL,
    TEXT,
    THIN,
    VERMILLION,
    draw_grid,
    dress,
    new_figure,
)
from qmoe_fed.studies.models import LABELS
from qmoe_fed.studies.noise.measure import CLEAN, NOISY, TEST, Curve
from qmoe_fed.studies.noise.published import TABLE_II
from qmoe_fed.studies.noise.summary import breakdowns
from qmoe_fed.studies.statistics import Array, mean_interval

STRENGTH = "depolarizing p (PennyLane: ⟨Z⟩ × (1 - 4p/3))"
PLACES = {"gate": "after every gate", "notebook": "after the embedding and at the end"}
KINDS = {CLEAN: "trained without noise", NOISY: "trained under the noise"}
COLORS = BLUE, VERMILLION, GREEN, PURPLE, ORANGE


def draw_all(
    curves: Sequence[Curve], linear: Mapping[float, Array], seed: int
) -> dict[str, Figure]:
    """Return all pictures by name.

    Args:
        curves: Of the study.
        linear: Test accuracy of Model A by learning rate, ``(S,)`` each.
        seed: Keys the resamples behind the breakdown points.
    """
    ours = [curve for curve in curves if curve.samples == TEST and curve.model != "notebook"]
    return {
        "accuracy_by_noise": _placements(ours, linear, seed),
        "accuracy_by_channel": _channels(ours, linear),
        "accuracy_by_shots": _shots(ours, linear),
    }


def _placements(curves: list[Curve], linear: Mapping[float, Array], seed: int) -> Figure:
    """Draw training without and under noise, with breakdown points and the paper's Table II."""
    lines = {
        ("quantum", CLEAN): BLUE,
        ("quantum", NOISY): VERMILLION,
        ("reuploading", CLEAN): GREEN,
        ("reuploading", NOISY): PURPLE,
    }
    curves = [c for c in curves if c.channel == "depolarizing" and c.shots is None]
    figure, panels = _grid(linear, [PLACES[name] for name in PLACEMENTS], STRENGTH)
    for rate, row in zip(linear, panels, strict=True):
        for placement, ax in zip(PLACEMENTS, row, strict=True):
            _line_of_linear(ax, linear[rate])
            for (model, protocol), color in lines.items():
                (curve,) = (
                    c
                    for c in curves
                    if (c.model, c.protocol, c.placement) == (model, protocol, placement)
                    and c.learning_rate == rate
                )
                _draw(ax, curve, color, f"{LABELS[model]}, {KINDS[protocol]}")
                both = breakdowns(curve, linear, seed)
                for at, marker in ((both.below_linear, "v"), (both.loses, "s")):
                    if math.isfinite(at.strength):
                        level = np.interp(at.strength, curve.strengths, 100 * curve.mean)
                        ax.plot(at.strength, level, marker, color=color, markersize=5, zorder=3)
            if placement == "gate":
                paper = [100 * accuracy for accuracy in TABLE_II.values()]
                ax.plot([*TABLE_II], paper, "x", color=BLACK, markersize=4)
                as_qiskit = [depolarizing_from_qiskit(rate) for rate in TABLE_II]
                ax.plot(as_qiskit, paper, "+", color=BLACK, markersize=5)
    marks = [
        ("v", GREY, "falls below A"),
        ("s", GREY, "ten points lost"),
        ("x", BLACK, "paper's Table II, rate read as p"),
        ("+", BLACK, "paper's Table II, rate read as λ = 4p/3"),
    ]
    for marker, color, label in marks:
        panels[0][0].plot([], [], marker, color=color, markersize=5, label=label)
    _finish(figure, panels[0][0], 3)
    return figure


def _channels(curves: list[Curve], linear: Mapping[float, Array]) -> Figure:
    """Draw every channel for the paper's circuit, trained without noise."""
    curves = [c for c in curves if (c.model, c.protocol, c.shots) == ("quantum", CLEAN, None)]
    colors = dict(zip(dict.fromkeys(c.channel for c in curves), COLORS, strict=False))
    figure, panels = _grid(linear, [PLACES[name] for name in PLACEMENTS], "p or γ of the channel")
    for rate, row in zip(linear, panels, strict=True):
        for placement, ax in zip(PLACEMENTS, row, strict=True):
            _line_of_linear(ax, linear[rate])
            for curve in curves:
                elsewhere = curve.placement in PLACEMENTS and curve.placement != placement
                if curve.learning_rate == rate and not elsewhere:
                    _draw(ax, curve, colors[curve.channel], curve.channel.replace("-", " "))
    _finish(figure, panels[0][0], 3)
    return figure


def _shots(curves: list[Curve], linear: Mapping[float, Array]) -> Figure:
    """Draw finite shots for the paper's circuit, noise after every gate."""
    curves = [
        c
        for c in curves
        if (c.model, c.placement, c.channel) == ("quantum", "gate", "depolarizing")
    ]
    curves.sort(key=lambda curve: curve.shots or math.inf)  # exact ones on top
    colors = dict(zip(sorted({c.shots for c in curves if c.shots}), cycle(COLORS), strict=False))
    figure, panels = _grid(linear, list(KINDS.values()), STRENGTH)
    for rate, row in zip(linear, panels, strict=True):
        for protocol, ax in zip(KINDS, row, strict=True):
            _line_of_linear(ax, linear[rate])
            for curve in curves:
                if curve.learning_rate == rate and curve.protocol == protocol:
                    if curve.shots:
                        _draw(ax, curve, colors[curve.shots], f"{curve.shots:,} shots")
                    else:
                        _draw(ax, curve, BLACK, "exact probabilities", ":")
    _finish(figure, panels[0][0], 5)
    return figure


def _grid(
    linear: Mapping[float, Array], columns: Sequence[str], x: str
) -> tuple[Figure, list[list[Axes]]]:
    """Return a picture with a row of panels per learning rate."""
    figure = new_figure(PAGE, 1.2 + 1.9 * len(linear))
    panels = figure.subplots(len(linear), len(columns), sharex=True, sharey=True, squeeze=False)
    for rate, row in zip(linear, panels, strict=True):
        for ax in row:
            dress(ax)
            draw_grid(ax)
            label = f"learning rate {rate:g}"
            ax.text(0.02, 0.04, label, transform=ax.transAxes, fontsize=SMALL)
        row[0].set_ylabel("test accuracy (%)", fontsize=TEXT)
    for ax, title in zip(panels[0], columns, strict=True):
        ax.set_title(title, fontsize=TEXT)
    for ax in panels[-1]:
        ax.set_xlabel(x, fontsize=TEXT)
    if x == STRENGTH:
        for ax in panels[0]:
            top = ax.secondary_xaxis(
                "top", functions=(depolarizing_to_qiskit, depolarizing_from_qiskit)
            )
            top.set_xlabel("λ (Qiskit: ⟨Z⟩ × (1 - λ))", fontsize=SMALL)
            top.tick_params(labelsize=SMALL, length=2.5, width=THIN)
    return figure, [list(row) for row in panels]


def _draw(ax: Axes, curve: Curve, color: str, label: str, style: str = "-") -> None:
    """Draw the mean over seeds and its confidence interval."""
    intervals = [mean_interval(values) for values in curve.accuracy]
    low, high = ([100 * getattr(i, end) for i in intervals] for end in ("low", "high"))
    ax.fill_between(curve.strengths, low, high, color=color, alpha=0.15, linewidth=0)
    ax.plot(curve.strengths, 100 * curve.mean, style, color=color, linewidth=LINE, label=label)


def _line_of_linear(ax: Axes, accuracy: Array) -> None:
    interval = mean_interval(accuracy)
    ax.axhspan(100 * interval.low, 100 * interval.high, color=GREY, alpha=0.15, linewidth=0)
    ax.axhline(
        100 * interval.mean, color=GREY, linestyle="--", linewidth=LINE, label=LABELS["linear"]
    )


def _finish(figure: Figure, ax: Axes, columns: int) -> None:
    """Set the limits and write the legend, from one of the panels."""
    ax.set_ylim(max(0, ax.get_ylim()[0]), 101)
    ax.xaxis.set_major_locator(MultipleLocator(0.05))
    handles, labels = ax.get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="outside lower center", ncols=columns, fontsize=SMALL, frameon=False
    )
