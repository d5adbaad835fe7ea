"""Pictures of the ablation.

Importing this package imports matplotlib.
"""

from pathlib import Path

from qmoe_fed.results.figures.style import save
from qmoe_fed.studies.ablation.figures import efficiency, gradients, regions, training
from qmoe_fed.studies.ablation.plan import Results
from qmoe_fed.studies.ablation.settings import EXPERTS
from qmoe_fed.studies.ablation.tables import with_experts

__all__ = ["draw_all"]


def draw_all(results: Results, folder: Path) -> None:
    """Draw all pictures into a folder."""
    for number in EXPERTS:
        models = with_experts(results.models, number)
        save(regions.draw_decisions(models), folder / f"decision-regions-{number}.png")
        save(regions.draw_experts(models), folder / f"expert-regions-{number}.png")
        save(training.draw(models), folder / f"training-curves-{number}.png")
    save(efficiency.draw(results.sweeps), folder / "parameter-efficiency.png")
    save(gradients.draw(results.gradients), folder / "gradient-variance.png")
