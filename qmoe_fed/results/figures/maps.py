"""Pictures of the input plane: what clients decide there, and which expert is responsible."""

import math

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from qmoe_fed.data import ClientData, Samples
from qmoe_fed.errors import UserError
from qmoe_fed.results.figures import style
from qmoe_fed.results.figures.charts import count_labels, evenly_spaced, skew_order
from qmoe_fed.results.figures.plane import Plane
from qmoe_fed.results.figures.regions import Floats, draw_regions, draw_samples, lattice, paint
from qmoe_fed.results.load import Run

ROWS, COLUMNS = 2, 3  # of clients, at most
LEGEND_COLUMNS = 7
MOST_CANDIDATES = 1000  # clients among whom those drawn are chosen
TRAIN, TEST, WRONG = ("o", 2.5), ("^", 4.0), ("o", 6.0)  # marker, its width in points
MOST_EXPERTS = 16  # with a panel of their own; if there are more, those used most in the plane
MOST_CLIENTS, SAMPLES = 75, 4  # clients whose samples show where data lie, how many of each


def decision_regions(run: Run) -> Figure:
    """Draw the decision regions of up to six clients, from one extreme of label skew to the other.

    Raises:
        UserError: No client's experts are in the run's directory.
    """
    plane, labels = Plane.of(run), run.config.data.labels
    clients = _choose(run, len(labels))
    data = run.data(clients)
    columns = min(len(clients), COLUMNS)
    rows = len(clients) // columns
    figure = style.new_figure(style.PAGE, 0.6 + rows * (0.2 + plane.height(style.PAGE / columns)))
    panels = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True).ravel()
    for row, (ax, client) in enumerate(zip(panels, clients, strict=True)):
        _draw_client(ax, run, int(client), data.select(slice(row, row + 1)), plane)

    colors = style.class_colors(len(labels))
    classes = [(f"class {n}", ("s", 5), c, "none") for n, c in zip(labels, colors, strict=True)]
    samples = [
        ("training sample", TRAIN, style.GREY, "none"),
        ("test sample", TEST, style.GREY, "none"),
        ("misclassified", WRONG, "none", style.BLACK),
    ]
    handles = [
        Line2D([], [], ls="", label=n, marker=marker, ms=size, mfc=fill, mec=edge, mew=style.THIN)
        for n, (marker, size), fill, edge in classes + samples
    ]
    spacing = {"ncols": LEGEND_COLUMNS, "handletextpad": 0.2, "columnspacing": 1.2}
    style.add_legend(figure, handles=handles, loc="outside lower center", **spacing)
    return figure


def _choose(run: Run, classes: int) -> NDArray[np.int64]:
    """Return the ids of the clients to draw, enough to fill one row or two."""
    here = run.complete
    if not len(here):
        raise UserError(
            f"the experts are not in {run.path / 'experts'}: the hosts saved them on their own "
            "machines"
        )
    candidates = here[evenly_spaced(len(here), MOST_CANDIDATES)]
    order = skew_order(count_labels(run.data(candidates).train, classes))
    count = min(len(order) // COLUMNS, ROWS) * COLUMNS or len(order)
    chosen: NDArray[np.int64] = candidates[order[evenly_spaced(len(order), count)]]
    return chosen


def _draw_client(ax: Axes, run: Run, client: int, data: ClientData, plane: Plane) -> None:
    def predict(points: Floats) -> Floats:
        return run.predict(client, plane.inputs(points))

    draw_regions(ax, predict, plane.bounds)
    count = len(run.config.data.labels)
    points, classes = _points(data.test, plane)
    draw_samples(ax, *_points(data.train, plane), count, *TRAIN)
    draw_samples(ax, points, classes, count, *TEST)
    wrong = predict(points).argmax(1) != classes
    (marker, size), (x, y) = WRONG, points[wrong].T
    ax.scatter(x, y, s=size**2, c="none", marker=marker, ec=style.BLACK, lw=style.THIN)
    style.dress(ax, f"client {client}: accuracy {100 * (1 - wrong.mean()):.1f}%", *plane.axes)
    ax.label_outer()


def _points(samples: Samples, plane: Plane) -> tuple[Floats, NDArray[np.int64]]:
    """Return the points and classes of samples, those of all clients together."""
    return plane.points(samples.x[samples.mask].numpy()), samples.y[samples.mask].numpy()


def expert_regions(run: Run) -> Figure:
    """Draw the experts' colours mixed by their weights, and each expert's weight by itself."""
    plane = Plane.of(run)
    weights = run.routing(plane.inputs(lattice(plane.bounds)))
    colors = style.expert_colors(weights.shape[1])
    shown = np.sort(weights.mean(0).argsort()[::-1][:MOST_EXPERTS])
    columns = math.ceil(math.sqrt(len(shown)))
    rows = math.ceil(len(shown) / columns)

    figure = style.new_figure(style.PAGE, 0.7 + plane.height(0.42 * style.PAGE))
    left, right = figure.subfigures(1, 2, squeeze=False).ravel()
    whole = left.subplots()
    paint(whole, weights, colors, plane.bounds)
    clients = evenly_spaced(run.config.federation.num_clients, MOST_CLIENTS)
    points, _ = _points(run.data(clients).test.first(SAMPLES), plane)
    whole.scatter(*points.T, s=3, c=style.BLACK, linewidths=0)
    style.dress(whole, "experts mixed by weight; dots: test samples", *plane.axes)

    panels = right.subplots(rows, columns, squeeze=False, sharex=True, sharey=True).ravel()
    used, unused = np.split(panels, [len(shown)])
    for ax, i in zip(used, shown, strict=True):
        own, pair = weights[:, [i]], np.vstack([colors[i], np.ones(3)])  # its colour and white
        paint(ax, np.hstack([own, 1 - own]), pair, plane.bounds)
        style.dress(ax, f"expert {i}")
    for ax in used[-columns:]:
        ax.tick_params(labelbottom=True)
    for ax in unused:
        ax.remove()
    greys = ScalarMappable(cmap="Greys")
    style.add_colorbar(right, greys, "P(expert | x)", ax=list(used), pad=0.02)
    return figure
