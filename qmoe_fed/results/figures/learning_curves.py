"""Accuracy and loss of the clients, round by round."""

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from qmoe_fed.results.figures import style
from qmoe_fed.results.load import Run

LOW, HIGH = 1, 9  # the first and the last decile


def draw(run: Run) -> Figure:
    """Draw the mean over clients, the middle 80% of them, and the mean of the worst 10%."""
    scored = [record for record in run.rounds if "accuracy" in record]
    number = [record["round"] for record in scored]
    figure = style.new_figure(style.PAGE, 2.4)
    panels = figure.subplots(1, 2)
    for ax, metric in zip(panels, ("accuracy", "loss"), strict=True):
        mean, worst, deciles = (
            np.array([record[metric][key] for record in scored], float)
            for key in ("mean", "worst10", "deciles")
        )
        ax.fill_between(
            number,
            deciles[:, LOW],
            deciles[:, HIGH],
            color=style.BLUE,
            alpha=0.2,
            linewidth=0,
            label="middle 80% of clients",
        )
        ax.plot(number, mean, color=style.BLUE, linewidth=style.LINE, label="mean over clients")
        label = "mean of the worst 10%"
        ax.plot(number, worst, "--", color=style.VERMILLION, linewidth=style.LINE, label=label)
        ax.set_xlim(number[0], number[-1])
        ax.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
        style.draw_grid(ax)
    style.dress(panels[0], x="round", y="test accuracy")
    style.dress(panels[1], x="round", y="test loss (cross-entropy, nats)")
    panels[1].set_ylim(bottom=0)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="outside upper center", ncols=3, fontsize=style.SMALL, frameon=False
    )
    return figure
