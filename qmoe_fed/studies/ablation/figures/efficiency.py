"""Accuracy against the number of router parameters."""

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure

from qmoe_fed.results.figures.style import PAGE, SMALL, THIN, draw_grid, dress, new_figure
from qmoe_fed.studies.ablation.figures.looks import FAMILIES
from qmoe_fed.studies.statistics import mean_interval
from qmoe_fed.studies.trials import Outcome


def draw(sweeps: Mapping[str, Sequence[Outcome]]) -> Figure:
    """Draw one panel per dataset: mean over seeds and its 95% confidence interval."""
    rows = -(-len(sweeps) // 2)
    figure = new_figure(PAGE, 0.4 + 2.3 * rows)
    panels = figure.subplots(rows, 2, squeeze=False).ravel()
    for ax, outcomes in zip(panels, sweeps.values(), strict=False):
        for family, (color, marker, filling) in FAMILIES.items():
            own = [o for o in outcomes if o.trial.model.label == family]
            means = [mean_interval(100 * o.chosen.accuracy) for o in own]
            ax.errorbar(
                [o.router_parameters for o in own],
                [m.mean for m in means],
                yerr=[m.half for m in means],
                color=color,
                marker=marker,
                markerfacecolor=filling,
                markersize=5,
                linestyle="none",
                elinewidth=THIN,
                label=family,
            )
        ax.set_xscale("log")
        draw_grid(ax)
        dress(ax, outcomes[0].trial.source.title, "router parameters", "test accuracy, %")
    for outcomes, ax in zip(sweeps.values(), panels, strict=False):
        alone = [o for o in outcomes if not o.router_parameters]
        for outcome in alone:
            mean = 100 * outcome.chosen.accuracy.mean()
            ax.axhline(mean, color="0.3", linewidth=THIN, linestyle="--", label="no router")
    for ax in panels[len(sweeps) :]:
        ax.remove()
    figure.legend(
        *panels[0].get_legend_handles_labels(),
        fontsize=SMALL,
        frameon=False,
        loc="outside lower center",
        ncols=4,
    )
    return figure
