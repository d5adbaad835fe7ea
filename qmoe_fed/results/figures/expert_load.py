"""Which experts each client uses."""

import numpy as np
from matplotlib.figure import Figure

from qmoe_fed.results.figures.order import serpentine
from qmoe_fed.results.figures.style import (
    GREY,
    PAGE,
    add_colorbar,
    dress,
    expert_colors,
    new_figure,
)
from qmoe_fed.results.load import Run

HEIGHT, TALLEST = 0.28, 5.0  # inches: of an expert, of all of them
MOST_NAMES = 32


def draw(run: Run) -> Figure:
    """Draw each client's mean routing weights as a heat map, and their means as bars."""
    count = run.config.model.num_experts
    load = np.stack([run.clients[f"load-{i}"] for i in range(count)], 1)
    load = load[serpentine(load)]
    figure = new_figure(PAGE, 0.8 + min(HEIGHT * max(count, 3), TALLEST))
    heat, bars, scale = figure.subplots(1, 3, width_ratios=[30, 5, 0.7])

    image = heat.imshow(load.T, cmap="viridis", vmin=0, aspect="auto", interpolation="nearest")
    dress(heat, x=f"{len(load):,} clients, sorted by their main expert", y="expert")
    if count <= MOST_NAMES:
        heat.set_yticks(range(count), [str(i) for i in range(count)])
    heat.set_xticks([])
    heat.tick_params(length=0)
    heat.spines[:].set_visible(False)

    bars.barh(range(count), load.mean(0), height=0.7, color=expert_colors(count))
    bars.axvline(1 / count, color=GREY, linewidth=0.8, linestyle=":")
    dress(bars, x=f"mean; dots: 1/{count}")
    bars.set_ylim(heat.get_ylim())
    bars.tick_params(axis="y", length=0, labelleft=False)

    add_colorbar(figure, image, "routing weight", cax=scale)
    return figure
