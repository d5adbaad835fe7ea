"""What the models of the ablation decide, and where their routers send what.

Shown is one seed, with the learning rate that validation chose.
"""

from collections.abc import Callable, Sequence

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from qmoe_fed.models import Mixture
from qmoe_fed.results.figures.plane import Plane
from qmoe_fed.results.figures.regions import Floats, draw_regions, draw_samples, lattice, paint
from qmoe_fed.results.figures.style import PAGE, SMALL, dress, expert_colors, new_figure
from qmoe_fed.studies.ablation.summary import experts
from qmoe_fed.studies.datasets import load
from qmoe_fed.studies.trials import Outcome

SEED = 0
COLUMNS = 3


def draw_decisions(outcomes: Sequence[Outcome]) -> Figure:
    """Draw the decision regions of models side by side, with the test samples."""
    data = load(outcomes[0].trial.source)
    plane = Plane(data.projection, ("x₁", "x₂"))
    samples = plane.points(data.split.test.x[SEED].numpy()), data.split.test.y[SEED].numpy()

    def draw(ax: Axes, outcome: Outcome) -> None:
        model = _fitted(outcome)
        draw_regions(ax, lambda points: _decide(model, plane, points), plane.bounds)
        draw_samples(ax, *samples, data.classes, "o", 2.5)
        label, accuracy = outcome.trial.model.label, outcome.chosen.accuracy[SEED]
        dress(ax, f"{label}: {100 * accuracy:.1f}%")

    return _panels(outcomes, draw, plane)


def draw_experts(outcomes: Sequence[Outcome]) -> Figure:
    """Draw the experts' colours mixed by their weights, for every model that has a router."""
    plane = Plane(load(outcomes[0].trial.source).projection, ("x₁", "x₂"))

    def draw(ax: Axes, outcome: Outcome) -> None:
        angles = torch.from_numpy(plane.projection.angles(lattice(plane.bounds)))
        with torch.no_grad():
            weights = _fitted(outcome).router(angles).numpy()
        paint(ax, weights, expert_colors(weights.shape[1]), plane.bounds)
        dress(ax, outcome.trial.model.label)

    routed = [outcome for outcome in outcomes if outcome.router_parameters]
    figure = _panels(routed, draw, plane)
    colors = expert_colors(experts(routed[0]))
    patches = [Patch(color=color, label=f"expert {i}") for i, color in enumerate(colors)]
    figure.legend(
        handles=patches,
        fontsize=SMALL,
        frameon=False,
        loc="outside lower center",
        ncols=len(patches),
    )
    return figure


def _panels(
    outcomes: Sequence[Outcome], draw: Callable[[Axes, Outcome], None], plane: Plane
) -> Figure:
    rows = -(-len(outcomes) // COLUMNS)
    figure = new_figure(PAGE, 0.2 + rows * (0.3 + plane.height(PAGE / COLUMNS)))
    panels = figure.subplots(rows, COLUMNS, squeeze=False, sharex=True, sharey=True).ravel()
    for ax, outcome in zip(panels, outcomes, strict=False):
        draw(ax, outcome)
    for ax in panels[len(outcomes) :]:
        ax.remove()
    return figure


def _fitted(outcome: Outcome) -> Mixture:
    model = outcome.trial.model.build(2, load(outcome.trial.source).classes)
    parameters = outcome.chosen.parameters
    model.load_state_dict({n: torch.from_numpy(v[SEED]) for n, v in parameters.items()})
    return model


def _decide(model: Mixture, plane: Plane, points: Floats) -> Floats:
    """Return class probabilities ``(B, C)`` at points ``(B, 2)``."""
    with torch.no_grad():
        logits = model(torch.from_numpy(plane.projection.angles(points)))
    probabilities: Floats = logits.softmax(-1).numpy()
    return probabilities
