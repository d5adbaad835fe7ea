"""Do circuits as experts need fewer qubits than one circuit, and do they bear noise better?

The fully quantum mixture of experts (Nguyen et al., arXiv 2507.05190) beside one circuit of as many
parameters, beside the hybrid and beside one linear map, on images of four classes.

python simulations/quantum_experts.py --data-dir DIR            five minutes on a free core
python simulations/quantum_experts.py --data-dir DIR --quick    a first look
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from qmoe_fed.config.settings import Tree, between, positive, read_toml, setting
from qmoe_fed.experiments import command
from qmoe_fed.experiments.cells import Cell
from qmoe_fed.experiments.command import Report, Study, main
from qmoe_fed.experiments.datasets import Source, load
from qmoe_fed.experiments.engine import Runner
from qmoe_fed.experiments.measures.noise import Noisy, noisy_fits
from qmoe_fed.experiments.protocol import Protocol
from qmoe_fed.experiments.views.tables import make_tables

GRID = read_toml(Path(__file__).with_suffix(".toml"))
STRENGTHS = tuple(GRID["strengths"]["p"])
TASKS = "mnist-4", "fashion-4"
QUICK = {"quick": True, "seeds": 2, "max-epochs": 2}


@dataclass(frozen=True)
class Scope(command.Scope):
    """What is asked of the study."""

    seeds: int = setting(5, between(2))
    learning_rate: float = setting(0.05, positive)  # of all models; none is tuned


@dataclass(frozen=True)
class Settings(Tree):
    """All settings of the study."""

    scope: Scope = field(default_factory=Scope)
    protocol: Protocol = field(default_factory=lambda: Protocol(max_epochs=20, patience=10))

    def source(self, task: str, components: int) -> Source:
        """Return a task whose images are given as so many principal components."""
        scope, seed = self.scope, self.protocol.seed
        about = {"data_dir": scope.data_dir, "components": components}
        return Source(task, scope.seeds, scope.first_seed, seed, **about)


def cells(settings: Settings) -> Iterator[Cell]:
    """Yield all fits with their tests."""
    for task in TASKS:
        for name, about in GRID["models"].items():
            quantum = bool(about["settings"])
            tests = [Noisy("depolarizing", "gate", STRENGTHS)] if quantum else []
            arguments = {
                "model": about["settings"],
                "rate": settings.scope.learning_rate,
                "source": settings.source(task, about["qubits"]),
                "protocol": settings.protocol,
                "trained": None,
                "tests": tests,
            }
            factors = {"qubits": about["qubits"], "depth": about["depth"]}
            yield Cell(noisy_fits, {"task": task, "model": name, **factors}, arguments)


def report(settings: Settings, run: Runner) -> Report:
    """Run all cells and show them."""
    rows = run(list(cells(settings)))
    noiseless = rows["strength"].isna()  # linear maps are the same at every strength
    every = [rows[noiseless].assign(strength=p) for p in STRENGTHS]
    rows = pd.concat([rows[~noiseless], *every])
    clean = rows.groupby(["task", "model", "seed"])["accuracy"].transform("first")
    rows = rows.assign(lost=rows["accuracy"] - clean)  # strengths ascend from 0
    return Report(make_tables(GRID["tables"], rows))


def check(settings: Settings) -> None:
    """Refuse data that are missing or too small, before anything is written."""
    for task in TASKS:
        load(settings.source(task, 5))


STUDY = Study("quantum-experts", __doc__ or "", Settings, report, {"quick": QUICK}, check)

if __name__ == "__main__":
    sys.exit(main(STUDY))
