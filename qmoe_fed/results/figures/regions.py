"""What a model says of every point of a plane, as areas of colour."""

from collections.abc import Callable

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from qmoe_fed.results.figures.style import BLACK, THIN, Colors, class_colors

Floats = NDArray[np.float32]

Bounds = tuple[float, float, float, float]
"""Left, right, bottom and top of a part of the plane."""

RESOLUTION = 120
"""Points along each side."""


def lattice(bounds: Bounds) -> Floats:
    """Return the centres of RESOLUTION × RESOLUTION pixels, row by row from below, ``(R², 2)``."""
    left, right, bottom, top = bounds
    centers = (np.arange(RESOLUTION, dtype=np.float32) + 0.5) / RESOLUTION
    x, y = np.meshgrid(left + (right - left) * centers, bottom + (top - bottom) * centers)
    return np.stack([x.ravel(), y.ravel()], 1)


def paint(ax: Axes, weights: Floats, colors: Colors, bounds: Bounds) -> None:
    """Fill axes with colours ``(n, 3)``, mixed at each lattice point by weights ``(R², n)``."""
    mixed = (weights @ colors).clip(0, 1).reshape(RESOLUTION, RESOLUTION, 3)
    ax.imshow(mixed, origin="lower", extent=bounds, interpolation="bilinear", aspect="auto")
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))


def draw_regions(ax: Axes, predict: Callable[[Floats], Floats], bounds: Bounds) -> None:
    """Draw what a classifier decides: class colours mixed by probability, and the borders.

    ``predict`` maps points ``(B, 2)`` to class probabilities ``(B, C)``.
    """
    points = lattice(bounds)
    probabilities = predict(points)
    paint(ax, probabilities, 1 - 0.35 * (1 - class_colors(probabilities.shape[1])), bounds)
    x, y = points.T.reshape(2, RESOLUTION, RESOLUTION)
    for c in np.unique(probabilities.argmax(1))[1:]:  # the others' borders are the first one's
        lead = probabilities[:, c] - np.delete(probabilities, c, 1).max(1)
        ax.contour(x, y, lead.reshape(x.shape), levels=[0], colors=BLACK, linewidths=THIN)


def draw_samples(
    ax: Axes, points: Floats, classes: NDArray[np.int64], count: int, marker: str, size: float
) -> None:
    """Draw samples at points ``(B, 2)`` in the colours of their classes ``(B,)``, of ``count``.

    The size is that of the marker, in points.
    """
    colors, (x, y) = class_colors(count)[classes], points.T
    ax.scatter(x, y, s=size**2, c=colors, marker=marker, edgecolors="white", linewidths=0.3)
