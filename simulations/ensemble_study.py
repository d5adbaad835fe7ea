"""Random circuits in superposition, weighted by accuracy or trained, against routers that see x.

python simulations/ensemble_study.py           a few minutes on a free core
python simulations/ensemble_study.py --quick   a first look, in seconds
"""

import sys
from collections.abc import Iterator
from pathlib import Path

from qmoe_fed.config.settings import read_toml
from qmoe_fed.experiments.cells import Cell
from qmoe_fed.experiments.command import main
from qmoe_fed.experiments.fitted import Settings, tabled
from qmoe_fed.experiments.measures.coherent import ensembles

GRID = read_toml(Path(__file__).with_name("ensemble.toml"))


def cells(settings: Settings) -> Iterator[Cell]:
    """Yield a cell for each number of circuits."""
    given = {key: GRID[key] for key in ("layers", "rate", "routers")} | settings.moons
    for count in GRID["counts"]:
        yield Cell(ensembles, {"count": count}, {"count": count, **given})


STUDY = tabled("ensemble-study", __doc__ or "", cells, GRID["tables"])

if __name__ == "__main__":
    sys.exit(main(STUDY))
