"""What could routers express, before training: Fisher information, states, kernels, frequencies.

python simulations/expressivity_study.py           a few minutes on a free core
python simulations/expressivity_study.py --quick   a first look, in seconds
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from qmoe_fed.config.settings import Tree, read_toml
from qmoe_fed.experiments.cells import Cell
from qmoe_fed.experiments.command import Report, Scope, Study, main
from qmoe_fed.experiments.datasets import MOONS, Source
from qmoe_fed.experiments.engine import Runner
from qmoe_fed.experiments.measures.expressivity import OWN, WIDE, expressivity
from qmoe_fed.experiments.views.tables import make_tables

GRID = read_toml(Path(__file__).with_name("expressivity.toml"))


@dataclass(frozen=True)
class Settings(Tree):
    """All settings of the study."""

    scope: Scope = field(default_factory=Scope)


def cells(settings: Settings) -> Iterator[Cell]:
    """Yield a cell for each router, number of experts and range of parameters."""
    scope = settings.scope
    source = Source(MOONS, scope.seeds, scope.first_seed)
    size = GRID["sizes"]["quick" if scope.quick else "default"]
    for name, model in GRID["models"].items():
        for experts in GRID["experts"]:
            own = {**model, "num-experts": experts}
            for start in (OWN,) if model["router"] == "quantum" else (OWN, WIDE):
                about = {"model": name, "experts": experts, "start": start}
                given = {"model": own, "start": start, "source": source, **size}
                yield Cell(expressivity, about, {**given, "sizes": tuple(GRID["samples"])})


def report(settings: Settings, run: Runner) -> Report:
    """Run all cells and show them; a circuit's θ is drawn from [-π, π] either way."""
    return Report(make_tables(GRID["tables"], run([*cells(settings)])))


STUDY = Study(
    "expressivity-study", __doc__ or "", Settings, report, {"quick": {"quick": True, "seeds": 2}}
)

if __name__ == "__main__":
    sys.exit(main(STUDY))
