"""What is compared: tasks × routers × ways of sharing, and how hyper-parameters are chosen.

Sizes are the same in all grids but ``QUICK``, so that a larger grid goes on from a smaller one.
Every cell gets the same budget: each candidate is run with two validation seeds, which give other
clients than the seeds that are reported, and the one with the best mean accuracy of clients is
taken.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import product
from typing import Any

from qmoe_fed.config.settings import Scalar
from qmoe_fed.studies.sharing.methods import METHODS

Settings = dict[str, Scalar]

VALIDATION_SEEDS = (1000, 1001)

_MOONS: Settings = {
    "dataset": "moons",
    "num-clients": 50,
    "num-unseen-clients": 50,
    "train-samples": 32,
    "test-samples": 256,
    "qubits": 2,
    "num-experts": 4,
}
_IMAGES: Settings = {
    "num-clients": 20,
    "num-unseen-clients": 20,
    "max-train-samples": 64,
    "qubits": 8,
    "num-experts": 8,
}
_PARTITIONS: dict[str, Settings] = {
    "dirichlet 0.1": {"partition": "dirichlet", "dirichlet-alpha": 0.1},
    "dirichlet 0.5": {"partition": "dirichlet", "dirichlet-alpha": 0.5},
    "2 classes": {"partition": "pathological", "classes-per-client": 2},
    "concept shift": {"partition": "concept-shift", "concept-groups": 2},
}
TASKS: dict[str, Settings] = {
    "moons, label skew": {**_MOONS, "partition": "dirichlet", "dirichlet-alpha": 0.5},
    "moons, rotation": {**_MOONS, "partition": "rotation"},
    **{
        f"{dataset}, {name}": {**_IMAGES, "dataset": dataset, **partition}
        for dataset, (name, partition) in product(
            ("digits", "mnist", "fashion-mnist"), _PARTITIONS.items()
        )
    },
}
"""Settings of each task, by name."""

ROUTERS: dict[str, Settings] = {
    "quantum": {"reuploading": False},
    "re-uploading": {"reuploading": True},
    "separable": {"reuploading": False, "entangler": "none"},
    "trig": {"router": "trig"},
    "linear": {"router": "linear"},
    "mlp": {"router": "mlp"},
}
"""Settings of each router, by name; the MLP has more parameters than any of the circuits."""


@dataclass(frozen=True, order=True)
class Cell:
    """One task with one router and one way of sharing."""

    task: str
    router: str
    sharing: str


@dataclass(frozen=True)
class Candidate:
    """Hyper-parameters to choose from."""

    learning_rate: float
    local_epochs: int


CANDIDATES = (Candidate(0.02, 5), Candidate(0.1, 5), Candidate(0.1, 1))


@dataclass(frozen=True)
class Grid:
    """Which cells are run, and how long.

    Attributes:
        cells: The cells.
        seeds: Number of seeds reported, 0, 1, …
        epochs: Passes of every client over its samples, over all rounds.
    """

    cells: tuple[Cell, ...]
    seeds: int = 5
    epochs: int = 60


@dataclass(frozen=True)
class Job:
    """One run of a cell.

    Attributes:
        cell: The cell.
        seed: The seed.
        settings: All settings of the run that differ from the defaults.
    """

    cell: Cell
    seed: int
    settings: Mapping[str, Any] = field(hash=False)


def job_of(cell: Cell, seed: int, candidate: Candidate, grid: Grid, data_dir: str) -> Job:
    """Return the run of a cell with one seed and some hyper-parameters."""
    settings = {
        **TASKS[cell.task],
        **ROUTERS[cell.router],
        "seed": seed,
        "learning-rate": candidate.learning_rate,
        "local-epochs": candidate.local_epochs,
        "num-server-rounds": grid.epochs // candidate.local_epochs,
        "unseen-samples": "8",
        "unseen-epochs": 50,
        "weight-decay": 0.0,
        "data-dir": data_dir,
    }
    return Job(cell, seed, settings)


def cross(tasks: Iterable[str], routers: Iterable[str]) -> tuple[Cell, ...]:
    """Return the cells of some tasks and routers under every way of sharing."""
    return tuple(Cell(*names) for names in product(tasks, routers, METHODS))


QUICK = Grid(cross(["moons, label skew"], ["re-uploading", "linear"]), seeds=3, epochs=20)
DEFAULT = Grid(
    cross(["moons, label skew", "moons, rotation"], ROUTERS)
    + cross(["mnist, dirichlet 0.5"], [name for name in ROUTERS if name != "trig"])
    + cross(["mnist, concept shift"], ["quantum"])
)
"""Every router where runs are cheap; on images one task whose clients could share everything and
one whose clients cannot, without the slowest router."""

FULL = Grid(cross(TASKS, ROUTERS))
