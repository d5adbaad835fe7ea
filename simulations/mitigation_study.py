"""How much of a router's accuracy under noise does error mitigation give back, at which cost?

python simulations/mitigation_study.py           a minute on a free core
python simulations/mitigation_study.py --quick   a first look, in seconds
"""

import sys
from collections.abc import Iterator
from pathlib import Path

from qmoe_fed.config.settings import read_toml
from qmoe_fed.experiments.cells import Cell
from qmoe_fed.experiments.command import main
from qmoe_fed.experiments.fitted import Settings, tabled
from qmoe_fed.experiments.measures.mitigation import mitigations
from qmoe_fed.experiments.measures.noise import Noisy, noisy_fits

GRID = read_toml(Path(__file__).with_name("mitigation.toml"))


def cells(settings: Settings) -> Iterator[Cell]:
    """Yield for each model what mitigation gives, and what training under the noise gives."""
    tests = {key: GRID[key] for key in ("noise", "methods", "strengths", "shots")}
    under = Noisy("depolarizing", "gate", tuple(GRID["strengths"]), tuple(GRID["shots"][1:]))
    about = {"noise": "gates", "method": "none, trained under it"}
    for name, model in GRID["models"].items():
        given = {"model": model, "rate": GRID["rate"], **settings.moons}
        yield Cell(mitigations, {"model": name}, {**given, **tests})
        yield Cell(
            noisy_fits, {"model": name, **about}, {**given, "trained": under, "tests": [under]}
        )


STUDY = tabled("mitigation-study", __doc__ or "", cells, GRID["tables"])

if __name__ == "__main__":
    sys.exit(main(STUDY))
