"""Panels of lines and points with intervals."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.typing import ColorType
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

Share = bool | Literal["none", "all", "row", "col"]


@dataclass(frozen=True)
class Series:
    """A line with a band, or points with error bars.

    Attributes:
        label: For the legend, where one label stands once; none if it begins with ``_``.
        x: Positions.
        y: Values, as long.
        color: Of line, marker and band.
        low: Lower ends of intervals; none are drawn if it is None.
        high: Upper ends.
        style: Matplotlib's line style; ``none`` for points.
        marker: Matplotlib's marker.
        filling: Colour within the marker, if another.
        size: Of the marker, points.
        opacity: Of the band.
    """

    label: str
    x: ArrayLike
    y: ArrayLike
    color: ColorType
    low: ArrayLike | None = None
    high: ArrayLike | None = None
    style: str = "-"
    marker: str = ""
    filling: ColorType | None = None
    size: float = 5
    opacity: float = 0.15

    @classmethod
    def of(
        cls, label: str, x: ArrayLike, shares: Sequence[ArrayLike], color: ColorType
    ) -> "Series":
        """Return mean and interval in percent of shares, one per seed, at each position."""
        found = [mean_interval(100 * np.asarray(own)) for own in shares]
        y, low, high = ([getattr(i, end) for i in found] for end in ("mean", "low", "high"))
        return cls(label, x, y, color, low, high)

    def as_points(self, marker: str, filling: ColorType | None = None) -> "Series":
        """Return the same as points."""
        return replace(self, style="none", marker=marker, filling=filling)

    def dotted(self) -> "Series":
        """Return the same as a dotted line."""
        return replace(self, style=":")

    def draw(self, ax: Axes) -> None:
        """Draw it."""
        look: dict[str, Any] = {"color": self.color, "markersize": self.size}
        look |= {} if self.filling is None else {"markerfacecolor": self.filling}
        if self.low is not None and self.high is not None:
            if self.style == "none":
                ends = np.stack([np.asarray(self.low), np.asarray(self.high)])
                ax.vlines(self.x, *ends, color=self.color, linewidth=THIN)
            else:
                ax.fill_between(
                    self.x,
                    self.low,
                    self.high,
                    color=self.color,
                    alpha=self.opacity,
                    linewidth=0,
                )
        look |= {"linestyle": self.style, "linewidth": LINE, "marker": self.marker}
        ax.plot(self.x, self.y, label=self.label, **look)


@dataclass(frozen=True)
class Level:
    """A dashed horizontal line, in percent, with the interval of the mean of shares as its band."""

    label: str
    shares: ArrayLike
    color: ColorType

    def draw(self, ax: Axes) -> None:
        """Draw it."""
        own = mean_interval(100 * np.asarray(self.shares))
        ax.axhspan(own.low, own.high, color=self.color, alpha=0.15, linewidth=0)
        ax.axhline(own.mean, color=self.color, linestyle="--", linewidth=LINE, label=self.label)


@dataclass(frozen=True)
class Panel:
    """Axes with what is drawn on them; ``finish`` does the rest: scales, limits."""

    parts: Sequence[Series | Level]
    title: str = ""
    x: str = ""
    y: str = ""
    finish: Callable[[Axes], object] = field(default=lambda ax: None)


def draw_panels(
    panels: Sequence[Sequence[Panel]],
    height: float,
    legend: Literal["outside lower center", "outside right center"] = "outside lower center",
    columns: int = 4,
    share: tuple[Share, Share] = (True, True),
) -> Figure:
    """Draw panels row by row, the last row may be shorter, with one legend for all.

    Args:
        panels: By row.
        height: Of the picture, inches; it is as wide as a page.
        legend: Where the legend stands.
        columns: Of the legend.
        share: Whether the panels share x and y, as in matplotlib.
    """
    figure = new_figure(PAGE, height)
    shape = len(panels), max(map(len, panels))
    axes = figure.subplots(*shape, sharex=share[0], sharey=share[1], squeeze=False)
    labels: dict[str, Artist] = {}
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
    look: dict[str, Any] = {"fontsize": SMALL, "frameon": False, "ncols": columns}
    figure.legend([*labels.values()], [*labels], loc=legend, **look)
    return figure
