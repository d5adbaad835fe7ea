"""One look for all pictures: sizes for a two-column paper, colours that the colour-blind can tell.

Only matplotlib's objects are used, no pyplot and no global settings: pictures may be drawn in any
thread and look the same beside any other use of matplotlib.
"""

from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import to_rgba_array
from matplotlib.figure import Figure, FigureBase
from numpy.typing import NDArray

from qmoe_fed.results.run_directory import write_whole

Colors = NDArray[np.float64]
"""Red, green and blue in [0, 1], one row per colour."""

COLUMN, PAGE = 3.5, 7.16  # inches: width of a column and of a page
TEXT, SMALL = 8, 7  # points
LINE, THIN = 1.4, 0.6  # points
DPI, SCREEN = 200, 110  # dots per inch
BAND: dict[str, Any] = {"alpha": 0.2, "linewidth": 0}
"""How the space between two curves is filled."""

BLUE, VERMILLION, GREEN, PURPLE = "#0072B2", "#D55E00", "#009E73", "#CC79A7"
ORANGE, SKY, YELLOW, GREY = "#E69F00", "#56B4E9", "#F0E442", "#7F7F7F"
BROWN, BLACK = "#6B4226", "#222222"

CLASS_COLORS = (BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY, YELLOW, GREY, BROWN, BLACK)
EXPERT_COLORS = (GREEN, PURPLE, ORANGE, SKY, YELLOW, BROWN, BLUE, GREY)
"""After Okabe & Ito; experts begin with colours that two classes do not have."""


def class_colors(count: int) -> Colors:
    """Return a colour for each class, ``(count, 3)``."""
    return _colors(CLASS_COLORS, count)


def expert_colors(count: int) -> Colors:
    """Return a colour for each expert, ``(count, 3)``."""
    return _colors(EXPERT_COLORS, count)


def _colors(names: tuple[str, ...], count: int) -> Colors:
    if count <= len(names):
        return to_rgba_array(names[:count])[:, :3]
    rainbow: Colors = colormaps["turbo"](np.linspace(0.05, 0.95, count))[:, :3]
    return rainbow


class Picture(Figure):
    """A figure that Jupyter shows, whatever else uses matplotlib there."""

    def _repr_png_(self) -> bytes:
        content = BytesIO()
        self.savefig(content, dpi=SCREEN, format="png")
        return content.getvalue()


def new_figure(width: float, height: float) -> Picture:
    """Return an empty picture, width and height in inches."""
    return Picture(figsize=(width, height), layout="constrained")


def dress(ax: Axes, title: str = "", x: str = "", y: str = "") -> None:
    """Give axes their title, labels and look."""
    ax.set_title(title, fontsize=TEXT)
    ax.set_xlabel(x, fontsize=TEXT)
    ax.set_ylabel(y, fontsize=TEXT)
    ax.tick_params(labelsize=SMALL, length=2.5, width=THIN)
    ax.spines[["top", "right"]].set_visible(False)
    ax.spines[["left", "bottom"]].set_linewidth(THIN)


def draw_grid(ax: Axes) -> None:
    """Draw faint horizontal lines behind the curves of axes."""
    ax.grid(axis="y", color="0.9", linewidth=THIN)
    ax.set_axisbelow(True)


def add_legend(owner: Axes | Figure, **place: Any) -> None:
    """Add a legend without a frame; ``place`` and what else, as for matplotlib's."""
    owner.legend(fontsize=SMALL, title_fontsize=SMALL, frameon=False, **place)


def add_colorbar(figure: FigureBase, colors: ScalarMappable, label: str, **place: Any) -> None:
    """Add a colour bar without a frame; ``place`` says where, as for matplotlib's."""
    bar = figure.colorbar(colors, **place)
    bar.set_label(label, fontsize=TEXT)
    bar.ax.tick_params(labelsize=SMALL, length=2.5)
    bar.outline.set_visible(False)


def save(figure: Figure, path: Path) -> None:
    """Write a picture as PNG; all in it stays where it is then, which spares the next writer."""
    content = BytesIO()
    fast = {"compress_level": 3}  # of 9; a seventh larger than with the usual 6
    figure.savefig(content, dpi=DPI, format="png", pil_kwargs=fast)
    figure.set_layout_engine(None)
    write_whole(path, content.getvalue())
