"""What could routers express, before training: Fisher information, states, kernels, frequencies.

python simulations/expressivity_study.py           a few minutes on a free core
python simulations/expressivity_study.py --quick   two seeds
"""

import sys
from collections.abc import Iterator
from pathlib import Path

from qmoe_fed.config.settings import read_toml
from qmoe_fed.experiments.cells import Cell
from qmoe_fed.experiments.command import main
from qmoe_fed.experiments.fitted import Settings, tabled
from qmoe_fed.experiments.measures.expressivity import OWN, WIDE, expressivity

GRID = read_toml(Path(__file__).with_name("expressivity.toml"))


def cells(settings: Settings) -> Iterator[Cell]:
    """Yield a cell for each router, number of experts and range of parameters."""
    keys = "samples", "draws", "pairs", "sizes"
    given = {"source": settings.moons["source"]} | {key: GRID[key] for key in keys}
    for name, model in GRID["models"].items():
        for experts in GRID["experts"]:
            own = {**model, "num-experts": experts}
            for start in (OWN,) if model["router"] == "quantum" else (OWN, WIDE):
                about = {
                    "model": name,
                    "router": model["router"],
                    "experts": experts,
                    "start": start,
                }
                yield Cell(expressivity, about, {"model": own, "start": start, **given})


STUDY = tabled("expressivity-study", __doc__ or "", cells, GRID["tables"])

if __name__ == "__main__":
    sys.exit(main(STUDY))
