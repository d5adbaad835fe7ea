"""How much of a router's accuracy under noise does error mitigation give back, at which cost?

python simulations/mitigation_study.py           a minute on a free core
python simulations/mitigation_study.py --quick   a first look, in seconds
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
from qmoe_fed.experiments.measures.mitigation import Exposure, Method, mitigations
from qmoe_fed.experiments.measures.noise import Noisy, noisy_fits
from qmoe_fed.experiments.protocol import Protocol
from qmoe_fed.experiments.views.tables import make_tables

GRID = read_toml(Path(__file__).with_name("mitigation.toml"))
METHODS = {name: Method(**about) for name, about in GRID["methods"].items()}
QUICK = {"quick": True, "seeds": 2, "max-epochs": 5}


@dataclass(frozen=True)
class Settings(Tree):
    """All settings of the study."""

    scope: Scope = field(default_factory=Scope)
    protocol: Protocol = field(default_factory=Protocol)


def cells(settings: Settings) -> Iterator[Cell]:
    """Yield for each model what mitigation gives, and what training under the noise gives."""
    scope, protocol = settings.scope, settings.protocol
    source = Source(MOONS, scope.seeds, scope.first_seed, protocol.seed)
    levels, shots = GRID["strengths"], GRID["shots"]
    if scope.quick:
        levels, shots = levels[1:3], shots[:2]
    exposures = [
        Exposure(
            {**noise["settings"], **dict.fromkeys(noise["at"], p)},
            {"noise": name, "strength": p},
            {method: METHODS[method] for method in noise["methods"]},
        )
        for name, noise in GRID["noise"].items()
        for p in levels
    ]
    for model, own in GRID["models"].items():
        given = {"model": own, "rate": GRID["rate"], "source": source, "protocol": protocol}
        tests = {"exposures": exposures, "shots": shots}
        yield Cell(mitigations, {"model": model}, {**given, **tests})
        under = Noisy("depolarizing", "gate", tuple(levels), tuple(shots[1:]))
        about = {"model": model, "noise": "gates", "method": "none, trained under it"}
        yield Cell(noisy_fits, about, {**given, "trained": under, "tests": [under]})


def report(settings: Settings, run: Runner) -> Report:
    """Run all cells and show them."""
    return Report(make_tables(GRID["tables"], run([*cells(settings)])))


STUDY = Study("mitigation-study", __doc__ or "", Settings, report, {"quick": QUICK})

if __name__ == "__main__":
    sys.exit(main(STUDY))
