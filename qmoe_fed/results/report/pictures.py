"""Pictures as they stand in a page: SVG with text for those who do not see them."""

from base64 import b64encode
from dataclasses import dataclass
from io import StringIO

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure
from numpy.typing import NDArray

from qmoe_fed.results.figures import style

TITLES = {
    "comparison": ("Learning curves", "Test accuracy and loss by round, mean over clients, by run"),
    "learning-curves": (
        "Learning curves",
        "Test accuracy and loss by round: mean, middle 80% and worst 10% of the clients",
    ),
    "expert-regions": (
        "Router regions",
        "The input plane in the experts' colours, mixed by the router's weights",
    ),
    "decision-regions": (
        "Decision regions",
        "The input plane as each of some clients classifies it, with its samples",
    ),
    "expert-load": ("Expert load", "Mean routing weight of each expert, by client and over all"),
    "label-distribution": ("Labels", "Training samples of each class, by client"),
    "unseen-clients": (
        "Unseen clients",
        "Mean accuracy of unseen clients by labelled samples and by what they are given",
    ),
    "clients": ("Clients", "Test accuracy of each client, from the lowest to the highest"),
}
DARK = """<style>@media (prefers-color-scheme: dark) {
text { fill: #ddd !important }
[style*="stroke: #000000"] { stroke: #bbb !important }
[style*="stroke: #e5e5e5"], [style*="stroke: #e6e6e6"] { stroke: #444 !important }
[id^="legend"] [style*="stroke: #222222"] { stroke: #ddd !important }
}</style>"""
"""A picture follows the page, which follows the reader's system."""

SHARP = 110
"""Dots per inch of what is no line or text in a picture."""

MOST_MARKS = 1000
"""Points that are drawn one by one."""


@dataclass(frozen=True)
class Picture:
    """A picture in a page.

    Attributes:
        title: What is above it.
        alternative: What it shows, for those who do not see it.
        source: The picture, as a ``data:`` address.
        size: Width and height in pixels of the page.
        span: Where its first axes begin and end from left to right, as percentages of its width.
    """

    title: str
    alternative: str
    source: str
    size: tuple[int, int]
    span: tuple[float, float]


def embed(name: str, figure: Figure) -> Picture:
    """Return a picture by its name in TITLES."""
    content = StringIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "qmoe-fed"}):  # the same each time
        figure.savefig(content, format="svg", dpi=SHARP, transparent=True, metadata={"Date": None})
    svg = content.getvalue().replace("<defs>", f"{DARK}<defs>", 1)
    source = f"data:image/svg+xml;base64,{b64encode(svg.encode()).decode()}"
    width, height = (round(96 * inches) for inches in figure.get_size_inches())
    place = figure.axes[0].get_position()
    return Picture(*TITLES[name], source, (width, height), (100 * place.x0, 100 * place.x1))


def ranking(accuracy: NDArray[np.float64], main: NDArray[np.int64], experts: int) -> Figure:
    """Draw the accuracies of clients ``(K,)`` in this order, in the colours of their main experts.

    The axes hold nothing but the K clients from left to right, each as wide as another.
    """
    figure = style.new_figure(style.PAGE, 2.2)
    figure.set_layout_engine(None)  # a layout that is sought takes longer than all else in it
    ax = figure.add_axes((0.08, 0.19, 0.78, 0.77))
    rank, colors = np.arange(len(accuracy)), style.expert_colors(experts)
    size, many = 4 if len(rank) <= 200 else 2, len(rank) > MOST_MARKS
    for i in np.unique(main):
        x, y, name = rank[main == i], accuracy[main == i], f"expert {i}"
        ax.plot(x, y, "o", ms=size, mew=0, color=colors[i], label=name, rasterized=many)
    ax.set_xlim(-0.5, len(rank) - 0.5)
    style.draw_grid(ax)
    style.dress(ax, x="clients, by accuracy", y="test accuracy")
    style.add_legend(ax, title="main expert", loc="upper left", bbox_to_anchor=(1, 1))
    return figure
