"""Do shared experts specialise by regimes of noise where the router sees its device's calibration?

After an idea of the hybrid's paper (section VII-E), which goes back to Li et al.

python simulations/regimes_study.py           two minutes on a free core
python simulations/regimes_study.py --quick   a first look
"""

import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from qmoe_fed.config.settings import Tree, between, setting
from qmoe_fed.experiments import command
from qmoe_fed.experiments.cells import Cell
from qmoe_fed.experiments.command import Report, Study, main
from qmoe_fed.experiments.engine import Runner
from qmoe_fed.experiments.measures.rounds import rounds
from qmoe_fed.experiments.views.tables import make_tables

GRID = tomllib.loads(Path(__file__).with_name("regimes.toml").read_text())
QUICK = {"quick": True, "seeds": 2}


@dataclass(frozen=True)
class Scope(command.Scope):
    """What is asked of the study."""

    seeds: int = setting(5, between(2))


@dataclass(frozen=True)
class Settings(Tree):
    """All settings of the study."""

    scope: Scope = field(default_factory=Scope)


def cells(scope: Scope) -> Iterator[Cell]:
    """Yield a federation for each model and seed."""
    at = GRID["rounds"]["at"][: 1 if scope.quick else None]
    for model, own in GRID["models"].items():
        for seed in scope.streams:
            given = {"settings": {**GRID["settings"], **own, "seed": seed}, "at": at}
            yield Cell(rounds, {"model": model}, given)


def report(settings: Settings, run: Runner) -> Report:
    """Run all cells and show them."""
    return Report(make_tables(GRID["tables"], run(list(cells(settings.scope)))))


STUDY = Study("regimes-study", __doc__ or "", Settings, report, {"quick": QUICK})

if __name__ == "__main__":
    sys.exit(main(STUDY))
