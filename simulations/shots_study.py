"""How many shots does a round need? Gradients by parameter shift and by SPSA in a federation.

python simulations/shots_study.py           a minute on a free core
python simulations/shots_study.py --quick   a first look
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

GRID = tomllib.loads(Path(__file__).with_name("shots.toml").read_text())
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
    """Yield a federation for each gradient, number of shots and seed."""
    at = GRID["rounds"]["at"][: 2 if scope.quick else None]
    for name, about in GRID["gradients"].items():
        for shots in about["shots"][: 1 if scope.quick else None]:
            for seed in scope.streams:
                way = {"shots": shots, "shot-gradients": about["way"], "seed": seed}
                given = {"settings": {**GRID["settings"], **way}, "at": at}
                yield Cell(rounds, {"gradient": name, "shots": shots}, given)


def report(settings: Settings, run: Runner) -> Report:
    """Run all cells and show them."""
    return Report(make_tables(GRID["tables"], run(list(cells(settings.scope)))))


STUDY = Study("shots-study", __doc__ or "", Settings, report, {"quick": QUICK})

if __name__ == "__main__":
    sys.exit(main(STUDY))
