"""The hybrid's first notebook again: classical experts, one circuit, circuits as experts.

python simulations/first_phase.py --data-dir DIR           two minutes on a free core
python simulations/first_phase.py --data-dir DIR --quick   the synthetic data only
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from qmoe_fed.config.settings import Tree, between, read_toml, setting
from qmoe_fed.experiments import command
from qmoe_fed.experiments.cells import Cell
from qmoe_fed.experiments.command import Report, Study, main
from qmoe_fed.experiments.engine import Runner
from qmoe_fed.experiments.measures.first_phase import SYNTHETIC, first_phase, samples
from qmoe_fed.experiments.views.published import Line, Published, comparison, line
from qmoe_fed.experiments.views.tables import only

GRID = read_toml(Path(__file__).with_name("first_phase.toml"))
DATA = tuple(entry["data"] for entry in GRID["published"])
QUICK = {"quick": True, "seeds": 2}


@dataclass(frozen=True)
class Scope(command.Scope):
    """What is asked of the study."""

    seeds: int = setting(3, between(2))

    @property
    def data(self) -> tuple[str, ...]:
        """Names of the data that are looked at."""
        return (SYNTHETIC,) if self.quick else DATA


@dataclass(frozen=True)
class Settings(Tree):
    """All settings of the study."""

    scope: Scope = field(default_factory=Scope)


def cells(scope: Scope) -> Iterator[Cell]:
    """Yield all fits: one after another within a cell, so that seconds are of one."""
    for data in scope.data:
        for name, model in GRID["models"].items():
            given = {"model": model, "data": data, "streams": [*scope.streams], **GRID["protocol"]}
            factors = {"data": data, "model": name}
            yield Cell(first_phase, factors, {**given, "data_dir": scope.data_dir})


def report(settings: Settings, run: Runner) -> Report:
    """Run all cells and put the notebook's numbers beside them."""
    rows, tables = run(list(cells(settings.scope))), []
    for entry in GRID["published"]:
        if entry["data"] in settings.scope.data:
            found = compared(only(rows, data=entry["data"]), entry)
            tables.append(comparison(entry["data"], found, "mean", GRID["notes"]["comparison"]))
    return Report(tables)


def compared(rows: pd.DataFrame, entry: dict[str, Any]) -> list[Line]:
    """Return the lines of one dataset: each model's accuracy and seconds."""
    found = []
    for model in GRID["models"]:
        own = only(rows, model=model)
        claims = (
            Published(
                f"test accuracy, {model}",
                entry["accuracy"][model],
                entry["rounding"],
                "first notebook",
                unit="%",
            ),
            Published(f"seconds, {model}", entry["seconds"][model], 0.05, "first notebook"),
        )
        ours = own["accuracy"], own["fit_seconds"]
        for claim, values in zip(claims, ours, strict=True):
            found.append(line(claim, [claim.show(values, run=True)], [claim.judge(values)]))
    return found


def check(settings: Settings) -> None:
    """Refuse data that are missing, before anything is written."""
    for data in settings.scope.data:
        samples(data, 0, settings.scope.data_dir)


STUDY = Study("first-phase", __doc__ or "", Settings, report, {"quick": QUICK}, check)

if __name__ == "__main__":
    sys.exit(main(STUDY))
