"""What an ε costs, as a picture."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from qmoe_fed.experiments.views import pictures
from qmoe_fed.experiments.views.tables import only
from qmoe_fed.results.figures import style

PANELS = {
    "accuracy": "test accuracy (%)",
    "unseen": "unseen clients (%)",
    "distance": "distance from the\nnoiseless router (%)",
}
LEVELS = {"none": style.BLACK, "not trained": style.GREY}
COLORS = style.BLUE, style.VERMILLION, style.GREEN, style.PURPLE


def utility_by_epsilon(rows: pd.DataFrame) -> Figure:
    """Draw a column of panels per figure of ``PANELS``, a row for each way of sharing."""
    ways, mechanisms = rows["router"].unique(), rows["mechanism"].unique()
    private = [name for name in mechanisms if name not in LEVELS]
    figure, axes = pictures.new_panels(
        len(ways) * len(PANELS), len(PANELS), 0.6 + 1.7 * len(ways), sharey=False
    )
    for i, ax in enumerate(axes):
        way, (metric, label) = ways[i // len(PANELS)], list(PANELS.items())[i % len(PANELS)]
        own, ticks = only(rows, router=way), []
        for name, color in LEVELS.items():
            pictures.draw_level(ax, name, only(own, mechanism=name)[metric], color)
        for name, color in zip(private, COLORS, strict=False):
            curve = only(own, mechanism=name).assign(at=lambda x: x["epsilon"].astype(float))
            wide = curve.pivot(index="at", columns="seed", values=metric)
            pictures.draw_means(ax, name, wide.index, [*np.asarray(wide)], color, marker="o")
            ticks = sorted({*ticks, *wide.index})
        ax.set_xscale("log", base=2)
        ax.set_xticks(ticks, [f"{x:g}" for x in ticks])
        ax.xaxis.set_minor_locator(NullLocator())
        last = i >= len(axes) - len(PANELS)
        style.dress(ax, f"shared: {way}", "ε at δ = 1e-5" if last else "", label)
    pictures.add_legend(figure, columns=len(LEVELS) + len(private))
    return figure
