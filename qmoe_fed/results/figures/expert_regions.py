"""Where in the input plane the shared router sends samples to which expert."""

import math

import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure

from qmoe_fed.results.figures import style
from qmoe_fed.results.figures.order import evenly_spaced
from qmoe_fed.results.figures.plane import Plane
from qmoe_fed.results.figures.regions import Floats, lattice, paint
from qmoe_fed.results.load import Run

MOST_EXPERTS = 16
"""Experts with a panel of their own; if there are more, those used most in the plane."""

MOST_CLIENTS, SAMPLES = 75, 4
"""Clients some of whose samples show where the data lie, and how many of each."""

WHITE = np.ones((1, 3))


def draw(run: Run) -> Figure:
    """Draw the experts' colours mixed by their weights, and each expert's weight by itself."""
    plane = Plane.of(run)
    weights = run.routing(plane.inputs(lattice(plane.bounds)))
    count = weights.shape[1]
    colors = style.expert_colors(count)
    shown = np.sort(weights.mean(0).argsort()[::-1][:MOST_EXPERTS])
    columns = math.ceil(math.sqrt(len(shown)))
    rows = math.ceil(len(shown) / columns)

    figure = style.new_figure(style.PAGE, 0.7 + plane.height(0.42 * style.PAGE))
    left, right = figure.subfigures(1, 2, squeeze=False).ravel()
    whole = left.subplots()
    paint(whole, weights, colors, plane.bounds)
    x, y = _some_samples(run, plane).T
    whole.scatter(x, y, s=3, c=style.BLACK, linewidths=0)
    style.dress(whole, "experts mixed by weight; dots: test samples", *plane.axes)

    panels = right.subplots(rows, columns, squeeze=False, sharex=True, sharey=True).ravel()
    for ax, i in zip(panels, shown, strict=False):
        own = weights[:, [i]]
        paint(ax, np.hstack([own, 1 - own]), np.vstack([colors[[i]], WHITE]), plane.bounds)
        style.dress(ax, f"expert {i}")
    for ax in panels[len(shown) - columns : len(shown)]:
        ax.tick_params(labelbottom=True)
    for ax in panels[len(shown) :]:
        ax.remove()
    beside = list(panels[: len(shown)])
    greys = ScalarMappable(cmap="Greys")
    style.add_colorbar(right, greys, "P(expert | x)", ax=beside, pad=0.02)
    return figure


def _some_samples(run: Run, plane: Plane) -> Floats:
    clients = evenly_spaced(run.config.federation.num_clients, MOST_CLIENTS)
    samples = run.data(clients).test.first(SAMPLES)
    return plane.points(samples.x[samples.mask].numpy())
