"""Panels of lines, points and levels over seeds, and of what fitted models do on a plane."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import torch
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.typing import ColorType
from numpy.typing import ArrayLike

from qmoe_fed.experiments.cells import Arrays
from qmoe_fed.experiments.datasets import Dataset
from qmoe_fed.experiments.models import Model, build, router_parameters
from qmoe_fed.experiments.statistics import mean_interval
from qmoe_fed.models import Mixture
from qmoe_fed.results.figures import style
from qmoe_fed.results.figures.plane import Plane
from qmoe_fed.results.figures.regions import Floats, draw_regions, draw_samples, lattice, paint

Share = bool | Literal["row"]


def new_panels(
    count: int, columns: int, height: float, sharex: Share = True, sharey: Share = True
) -> tuple[Figure, list[Axes]]:
    """Return a picture as wide as a page, ``height`` inches high, and its panels, row by row."""
    figure, columns = style.new_figure(style.PAGE, height), min(count, columns)
    shape = -(-count // columns), columns
    axes = figure.subplots(*shape, sharex=sharex, sharey=sharey, squeeze=False).ravel()
    for ax in axes[count:]:
        ax.remove()
    return figure, [*axes[:count]]


def add_legend(figure: Figure, loc: str = "outside lower center", columns: int = 4) -> None:
    """Add one legend for all panels, in which a label stands once; none begins with ``_``."""
    labels: dict[str, Artist] = {}
    for ax in figure.axes:
        for handle, label in zip(*ax.get_legend_handles_labels(), strict=True):
            labels.setdefault(label, handle)
    about = {"handles": [*labels.values()], "labels": [*labels]}
    style.add_legend(figure, loc=loc, ncols=columns, **about)


def draw_line(
    ax: Axes, label: str, x: ArrayLike, y: ArrayLike, color: ColorType, **look: Any
) -> None:
    """Draw a line, or points; ``look`` is matplotlib's."""
    given: dict[str, Any] = {"linewidth": style.LINE, "markersize": 5, **look}
    style.draw_grid(ax)
    ax.plot(x, y, label=label, color=color, **given)


def draw_means(
    ax: Axes, label: str, x: ArrayLike, shares: Sequence[ArrayLike], color: ColorType, **look: Any
) -> None:
    """Draw means in percent of shares, one per seed, at each x, with intervals as band or bars."""
    found = [mean_interval(100 * np.asarray(own)) for own in shares]
    low, high = [i.low for i in found], [i.high for i in found]
    if look.get("linestyle") == "none":
        ax.vlines(x, low, high, color=color, linewidth=style.THIN)
    else:
        ax.fill_between(x, low, high, color=color, alpha=0.15, linewidth=0)
    draw_line(ax, label, x, [i.mean for i in found], color, **look)


def draw_level(ax: Axes, label: str, shares: ArrayLike, color: ColorType) -> None:
    """Draw the mean in percent of shares, one per seed, and its interval across all of the axes."""
    own = mean_interval(100 * np.asarray(shares))
    ax.axhspan(own.low, own.high, color=color, alpha=0.15, linewidth=0)
    ax.axhline(own.mean, color=color, linestyle="--", linewidth=style.LINE, label=label)


def fitted(model: Model, arrays: Arrays, data: Dataset) -> Mixture:
    """Return a model as the first seed left it, from the arrays of its cell."""
    module, prefix = build(model, data.features, data.classes), "parameters/"
    own = {n: torch.from_numpy(a) for n, a in arrays.items() if n.startswith(prefix)}
    module.load_state_dict({name.removeprefix(prefix): a for name, a in own.items()})
    return module


def draw_decisions(models: Mapping[str, Mixture], data: Dataset) -> Figure:
    """Draw the decision regions of models by title, with the first seed's test samples."""
    plane, test = Plane(data.projection, ("x₁", "x₂")), data.test
    figure, axes = _on_plane(plane, len(models))
    for ax, (title, model) in zip(axes, models.items(), strict=True):

        def decide(points: Floats, model: Mixture = model) -> Floats:
            with torch.no_grad():
                logits = model(torch.from_numpy(plane.projection.angles(points)))
            probabilities: Floats = logits.softmax(-1).numpy()
            return probabilities

        draw_regions(ax, decide, plane.bounds)
        points, classes = plane.points(test.x[0].numpy()), test.y[0].numpy()
        draw_samples(ax, points, classes, data.classes, "o", 2.5)
        style.dress(ax, title)
    return figure


def draw_experts(models: Mapping[str, Mixture], data: Dataset) -> Figure:
    """Draw the experts' colours mixed by their weights, for every model that has a router."""
    plane = Plane(data.projection, ("x₁", "x₂"))
    angles = torch.from_numpy(plane.projection.angles(lattice(plane.bounds)))
    with torch.no_grad():
        routed = {t: m.router(angles).numpy() for t, m in models.items() if router_parameters(m)}
    colors = style.expert_colors(max(weights.shape[1] for weights in routed.values()))
    figure, axes = _on_plane(plane, len(routed))
    for ax, (title, weights) in zip(axes, routed.items(), strict=True):
        paint(ax, weights, colors, plane.bounds)
        style.dress(ax, title)
    patches = [Patch(color=color, label=f"expert {i}") for i, color in enumerate(colors)]
    style.add_legend(figure, handles=patches, loc="outside lower center", ncols=len(patches))
    return figure


def _on_plane(plane: Plane, count: int) -> tuple[Figure, list[Axes]]:
    rows = -(-count // 3)
    return new_panels(count, 3, 0.2 + rows * (0.3 + plane.height(style.PAGE / 3)))
