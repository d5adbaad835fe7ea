"""How few labelled samples does a client need that never took part?"""

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator
from scipy.special import stdtrit

from qmoe_fed.results.figures import style
from qmoe_fed.results.load import Run
from qmoe_fed.results.summary import unseen_labels

LOOKS = {"shared": (style.BLUE, "o"), "scratch": (style.ORANGE, "s"), "random": (style.GREY, "^")}


def draw(run: Run) -> Figure:
    """Draw mean accuracy against labelled samples, with its 95% confidence interval (Student's t).

    One client alone has no interval.
    """
    sizes, count = run.config.unseen.sample_sizes, len(run.unseen["client"])
    figure = style.new_figure(style.COLUMN, 2.6)
    ax = figure.subplots()
    for kind, label in unseen_labels(run.config.federation.share).items():
        color, marker = LOOKS[kind]
        accuracy = np.stack([run.unseen[f"{kind}-{size}"] for size in sizes])
        mean = accuracy.mean(1)
        if count > 1:
            half = stdtrit(count - 1, 0.975) * accuracy.std(1, ddof=1) / np.sqrt(count)
            ax.fill_between(sizes, mean - half, mean + half, color=color, alpha=0.2, linewidth=0)
        ax.plot(
            sizes, mean, color=color, marker=marker, markersize=4, linewidth=style.LINE, label=label
        )
    ax.set_xscale("log", base=2)
    ax.set_xticks(sizes, [f"{size:,}" for size in sizes])
    ax.xaxis.set_minor_locator(NullLocator())
    ax.set_ylim(top=min(ax.get_ylim()[1], 1.01))
    style.draw_grid(ax)
    style.dress(
        ax, x="labelled samples per unseen client", y=f"mean test accuracy ({count:,} clients)"
    )
    ax.legend(
        fontsize=style.SMALL,
        frameon=False,
        loc="lower right",
        title="mean, 95% confidence",
        title_fontsize=style.SMALL,
        alignment="left",
    )
    return figure
