"""Does amplitude amplification make a better, sharper router than a temperature does?

python simulations/amplification_study.py           some minutes on a free core
python simulations/amplification_study.py --quick   a first look, in seconds
"""

import sys
from collections.abc import Iterator
from pathlib import Path

from qmoe_fed.config.settings import read_toml
from qmoe_fed.experiments.cells import Cell
from qmoe_fed.experiments.command import main
from qmoe_fed.experiments.fitted import Settings, tabled
from qmoe_fed.experiments.measures.coherent import amplifications

GRID = read_toml(Path(__file__).with_name("amplification.toml"))


def cells(settings: Settings) -> Iterator[Cell]:
    """Yield a cell for each model and number of rounds, and one with a temperature."""
    given = {key: GRID[key] for key in ("rate", "uses", "temperatures")} | settings.moons
    for name, model in GRID["models"].items():
        for rounds, tempered in ((0, True), *((k, False) for k in GRID["rounds"])):
            own = {"model": model, "rounds": rounds, "tempered": tempered, **given}
            yield Cell(amplifications, {"model": name}, own)


STUDY = tabled("amplification-study", __doc__ or "", cells, GRID["tables"])

if __name__ == "__main__":
    sys.exit(main(STUDY))
