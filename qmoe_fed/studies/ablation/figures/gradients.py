"""Variance of the gradient against the number of qubits."""

import math
from collections.abc import Sequence

from matplotlib import colormaps
from matplotlib.figure import Figure

from qmoe_fed.results.figures.style import LINE, PAGE, SMALL, draw_grid, dress, new_figure
from qmoe_fed.studies.ablation.gradients import READOUTS, Variance

NAMES = dict(zip(READOUTS, ("P(all qubits 0)", "P(first qubit 0)"), strict=True))


def draw(variances: Sequence[Variance]) -> Figure:
    """Draw one panel per readout, one line per number of layers and range of angles."""
    layers = sorted({v.layers for v in variances})
    colors = colormaps["viridis"]
    figure = new_figure(PAGE, 2.6)
    panels = figure.subplots(1, len(READOUTS), sharey=True)
    for ax, readout in zip(panels, READOUTS, strict=True):
        for i, depth in enumerate(layers):
            for angle in sorted({v.init_angle for v in variances}, reverse=True):
                line = [
                    v
                    for v in variances
                    if (v.readout, v.layers, v.init_angle) == (readout, depth, angle)
                ]
                wide = angle == math.pi
                ax.plot(
                    [v.qubits for v in line],
                    [v.value for v in line],
                    "-" if wide else ":",
                    color=colors(0.9 * i / max(1, len(layers) - 1)),
                    linewidth=LINE,
                    marker="o",
                    markersize=2.5,
                    label=f"L = {depth}, angles ± {'π' if wide else f'{angle:g}'}",
                )
        ax.set_yscale("log")
        draw_grid(ax)
        dress(ax, f"read: {NAMES[readout]}", "qubits", "Var[∂P/∂θ₁₁]")
    figure.legend(
        *panels[0].get_legend_handles_labels(),
        fontsize=SMALL,
        frameon=False,
        loc="outside right center",
    )
    return figure
