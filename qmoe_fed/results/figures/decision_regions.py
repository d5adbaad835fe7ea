"""What a few clients decide, and the samples they learnt from and are tested on."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from qmoe_fed.data import ClientData, Samples
from qmoe_fed.errors import UserError
from qmoe_fed.results.figures import style
from qmoe_fed.results.figures.label_distribution import count_labels, skew_order
from qmoe_fed.results.figures.order import evenly_spaced
from qmoe_fed.results.figures.plane import Plane
from qmoe_fed.results.figures.regions import Floats, draw_regions, draw_samples
from qmoe_fed.results.load import Run

ROWS, COLUMNS = 2, 3  # at most
LEGEND_COLUMNS = 7
MOST_CANDIDATES = 1000  # clients among whom those drawn are chosen

TRAIN, TEST, WRONG = ("o", 2.5), ("^", 4.0), ("o", 6.0)  # marker, its width in points


def draw(run: Run) -> Figure:
    """Draw the decision regions of up to six clients, from one extreme of label skew to the other.

    Raises:
        UserError: No client's experts are in the run's directory.
    """
    plane = Plane.of(run)
    labels = run.config.data.labels
    clients = _choose(run, len(labels))
    data = run.data(clients)

    columns = min(len(clients), COLUMNS)
    rows = len(clients) // columns
    figure = style.new_figure(style.PAGE, 0.6 + rows * (0.2 + plane.height(style.PAGE / columns)))
    panels = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True).ravel()
    for row, (ax, client) in enumerate(zip(panels, clients, strict=True)):
        _draw_client(ax, run, int(client), data.select(slice(row, row + 1)), plane)
    figure.legend(
        handles=_legend([str(label) for label in labels]),
        loc="outside lower center",
        ncols=LEGEND_COLUMNS,
        fontsize=style.SMALL,
        frameon=False,
        handletextpad=0.2,
        columnspacing=1.2,
    )
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
    draw_samples(ax, *_points(data.train, plane), count, *TRAIN)
    points, classes = _points(data.test, plane)
    draw_samples(ax, points, classes, count, *TEST)
    wrong = predict(points).argmax(1) != classes
    marker, size = WRONG
    x, y = points[wrong].T
    ax.scatter(
        x, y, s=size**2, c="none", marker=marker, edgecolors=style.BLACK, linewidths=style.THIN
    )
    title = f"client {client}: accuracy {100 * (1 - wrong.mean()):.1f}%"
    style.dress(ax, title, *plane.axes)
    ax.label_outer()


def _points(samples: Samples, plane: Plane) -> tuple[Floats, NDArray[np.int64]]:
    """Return the points and classes of one client's samples."""
    return plane.points(samples.x[samples.mask].numpy()), samples.y[samples.mask].numpy()


def _legend(labels: list[str]) -> list[Line2D]:
    def handle(label: str, marker: str, size: float, fill: str, edge: str = "none") -> Line2D:
        return Line2D(
            [], [], ls="", marker=marker, ms=size, mfc=fill, mec=edge, mew=style.THIN, label=label
        )

    colors = map(to_hex, style.class_colors(len(labels)))
    return [
        *(handle(f"class {label}", "s", 5, c) for label, c in zip(labels, colors, strict=True)),
        handle("training sample", *TRAIN, style.GREY),
        handle("test sample", *TEST, style.GREY),
        handle("misclassified", *WRONG, "none", style.BLACK),
    ]
