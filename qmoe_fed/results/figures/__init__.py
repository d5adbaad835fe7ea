"""Pictures of a run, drawn from its directory alone.

Importing this package imports matplotlib.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

from matplotlib.figure import Figure

from qmoe_fed.data import shape_of
from qmoe_fed.errors import UserError
from qmoe_fed.results.figures import charts, maps
from qmoe_fed.results.figures.style import save
from qmoe_fed.results.load import Run, load_run
from qmoe_fed.results.progress import say

__all__ = ["draw", "draw_all", "pictures", "save_all"]


def draw_all(path: str | Path) -> list[Path]:
    """Draw all pictures of a finished run into ``figures/`` of its directory.

    A picture whose data are not on this machine is left out, and a line says so.

    Returns:
        The files written.

    Raises:
        UserError: There is no finished run, or its directory cannot be written to.
    """
    run = load_run(path)
    return save_all(run, draw(run))


def save_all(run: Run, figures: Mapping[str, Figure]) -> list[Path]:
    """Write pictures into ``figures/`` of a run's directory and return the files."""
    files = {run.path / "figures" / f"{name}.png": own for name, own in figures.items()}
    for file, figure in files.items():
        save(figure, file)
    return [*files]


def draw(run: Run) -> dict[str, Figure]:
    """Return all pictures of a run, by name, but those whose data are not on this machine."""
    drawn = {}
    for name, picture in pictures(run).items():
        try:
            drawn[name] = picture(run)
        except UserError as error:
            say(f"{name} is left out: {error}")
    return drawn


def pictures(run: Run) -> dict[str, Callable[[Run], Figure]]:
    """Return how to draw each picture that such a run can have."""
    possible: dict[str, Callable[[Run], Figure]] = {
        "learning-curves": charts.learning_curves,
        "expert-load": charts.expert_load,
        "label-distribution": charts.label_distribution,
    }
    if any("epsilon" in record.get("train", {}) for record in run.records):
        possible["privacy-spent"] = charts.privacy_spent
    if len(run.unseen):
        possible["unseen-clients"] = charts.unseen_clients
    if shape_of(run.config).features == 2:
        possible["decision-regions"] = maps.decision_regions
        if run.config.federation.share in ("router", "prior", "all"):
            possible["expert-regions"] = maps.expert_regions
    return possible
