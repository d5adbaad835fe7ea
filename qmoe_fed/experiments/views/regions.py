"""What fitted models decide on the plane of Two Moons, and where their routers send what."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from qmoe_fed.experiments.cells import Arrays
from qmoe_fed.experiments.datasets import Dataset
from qmoe_fed.experiments.models import Model, build, router_parameters
from qmoe_fed.models import Mixture
from qmoe_fed.results.figures.plane import Plane
from qmoe_fed.results.figures.regions import Floats, draw_regions, draw_samples, lattice, paint
from qmoe_fed.results.figures.style import PAGE, SMALL, dress, expert_colors, new_figure

COLUMNS = 3
PARAMETERS = "parameters/"


def fitted(model: Model, arrays: Arrays, data: Dataset) -> Mixture:
    """Return a model as the first seed left it, from the arrays of its cell."""
    module = build(model, data.features, data.classes)
    own = {n: torch.from_numpy(a) for n, a in arrays.items() if n.startswith(PARAMETERS)}
    module.load_state_dict({name.removeprefix(PARAMETERS): a for name, a in own.items()})
    return module


def draw_decisions(models: Mapping[str, Mixture], data: Dataset) -> Figure:
    """Draw the decision regions of models by title, with the first seed's test samples."""
    plane, test = Plane(data.projection, ("x₁", "x₂")), data.split.test
    samples = plane.points(test.x[0].numpy()), test.y[0].numpy()

    def draw(ax: Axes, title: str) -> None:
        def decide(points: Floats) -> Floats:
            with torch.no_grad():
                logits = models[title](torch.from_numpy(plane.projection.angles(points)))
            probabilities: Floats = logits.softmax(-1).numpy()
            return probabilities

        draw_regions(ax, decide, plane.bounds)
        draw_samples(ax, *samples, data.classes, "o", 2.5)
        dress(ax, title)

    return _panels([*models], draw, plane)


def draw_experts(models: Mapping[str, Mixture], data: Dataset) -> Figure:
    """Draw the experts' colours mixed by their weights, for every model that has a router."""
    plane = Plane(data.projection, ("x₁", "x₂"))
    angles = torch.from_numpy(plane.projection.angles(lattice(plane.bounds)))
    with torch.no_grad():
        routed = {t: m.router(angles).numpy() for t, m in models.items() if router_parameters(m)}
    colors = expert_colors(max(weights.shape[1] for weights in routed.values()))

    def draw(ax: Axes, title: str) -> None:
        paint(ax, routed[title], colors, plane.bounds)
        dress(ax, title)

    figure = _panels([*routed], draw, plane)
    patches = [Patch(color=color, label=f"expert {i}") for i, color in enumerate(colors)]
    look: dict[str, Any] = {"fontsize": SMALL, "frameon": False, "ncols": len(patches)}
    figure.legend(handles=patches, loc="outside lower center", **look)
    return figure


def _panels(titles: Sequence[str], draw: Callable[[Axes, str], None], plane: Plane) -> Figure:
    rows = -(-len(titles) // COLUMNS)
    figure = new_figure(PAGE, 0.2 + rows * (0.3 + plane.height(PAGE / COLUMNS)))
    panels = figure.subplots(rows, COLUMNS, squeeze=False, sharex=True, sharey=True).ravel()
    for ax, title in zip(panels, titles, strict=False):
        draw(ax, title)
    for ax in panels[len(titles) :]:
        ax.remove()
    return figure
