"""Accuracy and loss of the clients, round by round."""

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from qmoe_fed.results.figures.style import (
    BLUE,
    LINE,
    PAGE,
    SMALL,
    VERMILLION,
    draw_grid,
    dress,
    new_figure,
)
from qmoe_fed.results.load import Run

LOW, HIGH = 1, 9  # the first and the last decile


def draw(run: Run) -> Figure:
    """Draw the mean over clients, the middle 80% of them, and the mean of the worst 10%."""
    scored = [record for record in run.rounds if "accuracy" in record]
    number = [record["round"] for record in scored]
    figure = new_figure(PAGE, 2.4)
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
            color=BLUE,
            alpha=0.2,
            linewidth=0,
            label="middle 80% of clients",
        )
        ax.plot(number, mean, color=BLUE, linewidth=LINE, label="mean over clients")
        label = "mean of the worst 10%"
        ax.plot(number, worst, "--", color=VERMILLION, linewidth=LINE, label=label)
        ax.set_xlim(number[0], number[-1])
        ax.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
        draw_grid(ax)
    dress(panels[0], x="round", y="test accuracy")
    dress(panels[1], x="round", y="test loss (cross-entropy, nats)")
    panels[1].set_ylim(bottom=0)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="outside upper center", ncols=3, fontsize=SMALL, frameon=False
    )
    return figure
