"""Panels of lines and points with intervals."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from qmoe_fed.experiments.statistics import mean_interval
from qmoe_fed.results.figures.style import (
    LINE,
    PAGE,
    SMALL,
    THIN,
    draw_grid,
    dress,
    new_figure,
)


@dataclass(frozen=True)
class Series:
    """A line or a set of points.

    Attributes:
        label: For the legend; series with one label are one entry.
        x: Positions.
        y: Values, as long.
        color: Of line, marker and band.
        low: Lower ends of intervals; none are drawn if it is None.
        high: Upper ends.
        style: Matplotlib's line style; ``none`` draws error bars instead of a band.
        marker: Matplotlib's marker.
        filling: Colour within the marker, if another.
        size: Of the marker, points.
        opacity: Of the band.
    """

    label: str
    x: ArrayLike
    y: ArrayLike
    color: object
    low: ArrayLike | None = None
    high: ArrayLike | None = None
    style: str = "-"
    marker: str = ""
    filling: object = None
    size: float = 5
    opacity: float = 0.15

    @classmethod
    def of(
        cls, label: str, frame: pd.DataFrame, x: str, color: object, metric: str = "accuracy"
    ) -> "Series":
        """Return mean and interval of a share over seeds, in percent, by a column."""
        groups = frame.groupby(x)[metric]
        found = [mean_interval(100 * own.to_numpy(np.float64)) for _, own in groups]
        low, high = [own.low for own in found], [own.high for own in found]
        return cls(label, list(groups.groups), [own.mean for own in found], color, low, high)

    def draw(self, ax: Axes) -> None:
        """Draw it."""
        look = {"color": self.color, "marker": self.marker, "markersize": self.size}
        if self.filling is not None:
            look["markerfacecolor"] = self.filling
        if self.style == "none":
            bars = None
            if self.low is not None and self.high is not None:
                y = np.asarray(self.y)
                bars = [y - np.asarray(self.low), np.asarray(self.high) - y]
            ax.errorbar(
                self.x, self.y, bars, linestyle="none", elinewidth=THIN, label=self.label, **look
            )
            return
        if self.low is not None:
            ax.fill_between(
                self.x, self.low, self.high, color=self.color, alpha=self.opacity, linewidth=0
            )
        ax.plot(self.x, self.y, self.style, linewidth=LINE, label=self.label, **look)


@dataclass(frozen=True)
class Level:
    """A horizontal line with its band."""

    label: str
    y: float
    color: object
    low: float | None = None
    high: float | None = None
    width: float = LINE

    def draw(self, ax: Axes) -> None:
        """Draw it."""
        if self.low is not None:
            ax.axhspan(self.low, self.high, color=self.color, alpha=0.15, linewidth=0)
        ax.axhline(self.y, color=self.color, linestyle="--", linewidth=self.width, label=self.label)


@dataclass(frozen=True)
class Panel:
    """Axes with what is drawn on them.

    Attributes:
        parts: Series and levels, drawn in this order.
        title: Above.
        x: Label of the horizontal axis.
        y: Label of the vertical axis.
        finish: Does the rest: scales, limits, a second axis.
    """

    parts: Sequence[Series | Level]
    title: str = ""
    x: str = ""
    y: str = ""
    finish: Callable[[Axes], object] = field(default=lambda ax: None)


def draw_panels(
    panels: Sequence[Sequence[Panel]],
    height: float,
    legend: str = "lower center",
    columns: int = 4,
    share: tuple[bool | str, bool | str] = (True, True),
) -> Figure:
    """Draw panels row by row, with one legend for all.

    Args:
        panels: By row; the last row may be shorter.
        height: Of the picture, inches; it is as wide as a page.
        legend: Where the legend stands, outside the axes.
        columns: Of the legend.
        share: Whether the panels share x and y, as in matplotlib.
    """
    figure = new_figure(PAGE, height)
    shape = len(panels), max(map(len, panels))
    axes = figure.subplots(*shape, sharex=share[0], sharey=share[1], squeeze=False)
    labels: dict[str, object] = {}
    for row, line in zip(axes, panels, strict=True):
        for ax in row[len(line) :]:
            ax.remove()
        for ax, panel in zip(row, line, strict=False):
            for part in panel.parts:
                part.draw(ax)
            draw_grid(ax)
            dress(ax, panel.title, panel.x, panel.y)
            panel.finish(ax)
            for handle, label in zip(*ax.get_legend_handles_labels(), strict=True):
                labels.setdefault(label, handle)
    figure.legend(
        labels.values(),
        labels.keys(),
        fontsize=SMALL,
        frameon=False,
        loc=f"outside {legend}",
        ncols=columns,
    )
    return figure


def in_rows(panels: Sequence[Panel], columns: int) -> list[Sequence[Panel]]:
    """Return panels in rows; the last may be shorter."""
    return [panels[i : i + columns] for i in range(0, len(panels), columns)]
