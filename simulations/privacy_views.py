"""What an ε costs, as a picture."""

from itertools import product

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
    places = list(product(rows["router"].unique(), PANELS))
    private = [name for name in rows["mechanism"].unique() if name not in LEVELS]
    figure, axes = pictures.new_panels(len(places), 3, 0.6 + 0.57 * len(places), sharey=False)
    for ax, (way, metric) in zip(axes, places, strict=True):
        own = only(rows, router=way)
        for name, color in LEVELS.items():
            pictures.draw_level(ax, name, only(own, mechanism=name)[metric], color)
        for name, color in zip(private, COLORS, strict=False):
            curve = only(own, mechanism=name).astype({"epsilon": float})
            wide = curve.pivot(index="epsilon", columns="seed", values=metric)
            pictures.draw_means(ax, name, wide.index, [*wide.to_numpy()], color, marker="o")
            ax.set_xscale("log", base=2)
            ax.set_xticks(wide.index, [f"{x:g}" for x in wide.index])
        ax.xaxis.set_minor_locator(NullLocator())
        style.dress(ax, f"shared: {way}", "ε at δ = 1e-5", PANELS[metric])
    pictures.add_legend(figure, columns=len(LEVELS) + len(private))
    return figure
