"""Loss and accuracy of the models of the ablation, epoch by epoch."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from qmoe_fed.results.figures.style import LINE, PAGE, SMALL, draw_grid, dress, new_figure
from qmoe_fed.studies.ablation.figures.looks import MODELS
from qmoe_fed.studies.ablation.settings import REPORTED
from qmoe_fed.studies.statistics import Array
from qmoe_fed.studies.trials import Outcome

MIDDLE = 10, 90
"""Percentiles between which the middle 80% of the seeds lie."""

SHOWN = 0.75, 1.005
"""Validation accuracies that are shown."""


def draw(outcomes: Sequence[Outcome]) -> Figure:
    """Draw mean over seeds and the middle 80% of them, for both published learning rates.

    A seed that has stopped counts with its last value.
    """
    figure = new_figure(PAGE, 4.6)
    panels = figure.subplots(2, len(REPORTED), sharex=True, sharey="row")
    for column, rate in zip(panels.T, REPORTED, strict=True):
        for outcome in outcomes:
            own = outcome.columns[f"{rate:g}"]
            color, label = MODELS[outcome.trial.model.label], outcome.trial.model.label
            for ax, curve in zip(column, (own.train_loss, own.validation_accuracy), strict=True):
                curve = _hold(curve)
                epoch = np.arange(1, curve.shape[1] + 1)
                low, high = np.percentile(curve, MIDDLE, 0)
                ax.fill_between(epoch, low, high, color=color, alpha=0.1, linewidth=0)
                ax.plot(epoch, curve.mean(0), color=color, linewidth=LINE, label=label)
        for ax in column:
            draw_grid(ax)
        dress(column[0], f"learning rate {rate:g}", y="training loss (nats)")
        dress(column[1], x="epoch", y="validation accuracy")
        column[0].set_yscale("log")
        column[1].set_ylim(*SHOWN)
    figure.legend(
        *panels[0, 0].get_legend_handles_labels(),
        fontsize=SMALL,
        frameon=False,
        loc="outside right center",
    )
    return figure


def _hold(curves: Array) -> Array:
    """Replace what follows the last value of each row ``(K, E)`` by that value."""
    last = (~np.isnan(curves)).sum(1) - 1
    place = np.minimum(np.arange(curves.shape[1]), last[:, None])
    held: Array = np.take_along_axis(curves, place, 1)
    return held
