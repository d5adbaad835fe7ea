"""What fitted models decide on the plane of Two Moons, and where their routers send what."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from qmoe_fed.experiments.datasets import Dataset
from qmoe_fed.experiments.models import Model, build
from qmoe_fed.experiments.store import Arrays
from qmoe_fed.models import Mixture
from qmoe_fed.results.figures.plane import Plane
from qmoe_fed.results.figures.regions import Floats, draw_regions, draw_samples, lattice, paint
from qmoe_fed.results.figures.style import PAGE, SMALL, dress, expert_colors, new_figure

COLUMNS = 3
PARAMETERS = "parameters/"


@dataclass(frozen=True)
class Fitted:
    """A model as one seed left it.

    Attributes:
        label: Its name.
        settings: Of the model.
        arrays: Of its cell.
        accuracy: On the test samples.
    """

    label: str
    settings: Model
    arrays: Arrays
    accuracy: float

    def module(self, data: Dataset) -> Mixture:
        """Return the fitted module."""
        module = build(self.settings, data.features, data.classes)
        own = {n: a for n, a in self.arrays.items() if n.startswith(PARAMETERS)}
        module.load_state_dict(
            {name.removeprefix(PARAMETERS): torch.from_numpy(a) for name, a in own.items()}
        )
        return module


def draw_decisions(models: Sequence[Fitted], data: Dataset) -> Figure:
    """Draw the decision regions of models side by side, with the first seed's test samples."""
    plane = Plane(data.projection, ("x₁", "x₂"))
    test = data.split.test
    samples = plane.points(test.x[0].numpy()), test.y[0].numpy()

    def draw(ax: Axes, fitted: Fitted) -> None:
        model = fitted.module(data)

        def decide(points: Floats) -> Floats:
            with torch.no_grad():
                logits = model(torch.from_numpy(plane.projection.angles(points)))
            probabilities: Floats = logits.softmax(-1).numpy()
            return probabilities

        draw_regions(ax, decide, plane.bounds)
        draw_samples(ax, *samples, data.classes, "o", 2.5)
        dress(ax, f"{fitted.label}: {100 * fitted.accuracy:.1f}%")

    return _panels(models, draw, plane)


def draw_experts(models: Sequence[Fitted], data: Dataset) -> Figure:
    """Draw the experts' colours mixed by their weights, for every model that has a router."""
    plane = Plane(data.projection, ("x₁", "x₂"))
    experts = 0

    def draw(ax: Axes, fitted: Fitted) -> None:
        nonlocal experts
        angles = torch.from_numpy(plane.projection.angles(lattice(plane.bounds)))
        with torch.no_grad():
            weights = fitted.module(data).router(angles).numpy()
        experts = weights.shape[1]
        paint(ax, weights, expert_colors(experts), plane.bounds)
        dress(ax, fitted.label)

    figure = _panels([fitted for fitted in models if fitted.settings], draw, plane)
    patches = [
        Patch(color=color, label=f"expert {i}") for i, color in enumerate(expert_colors(experts))
    ]
    figure.legend(
        handles=patches,
        fontsize=SMALL,
        frameon=False,
        loc="outside lower center",
        ncols=len(patches),
    )
    return figure


def _panels(models: Sequence[Fitted], draw: Callable[[Axes, Fitted], None], plane: Plane) -> Figure:
    rows = -(-len(models) // COLUMNS)
    figure = new_figure(PAGE, 0.2 + rows * (0.3 + plane.height(PAGE / COLUMNS)))
    panels = figure.subplots(rows, COLUMNS, squeeze=False, sharex=True, sharey=True).ravel()
    for ax, fitted in zip(panels, models, strict=False):
        draw(ax, fitted)
    for ax in panels[len(models) :]:
        ax.remove()
    return figure
