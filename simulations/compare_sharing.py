"""Is it worth sharing a router? The same tasks under every way of sharing a mixture.

python simulations/compare_sharing.py --data-dir DIR   10 minutes on 2 cores
python simulations/compare_sharing.py --quick          a minute, no files needed
python simulations/compare_sharing.py --full           everything; may be stopped and called again
"""

import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path

import pandas as pd

from qmoe_fed.config import Config
from qmoe_fed.config.settings import Scalar, Tree, between, setting
from qmoe_fed.data import fit_projection
from qmoe_fed.experiments import command
from qmoe_fed.experiments.cells import Cell
from qmoe_fed.experiments.command import Report, Run, Study, main
from qmoe_fed.experiments.measures.sharing import METHODS, shared
from qmoe_fed.experiments.statistics import Interval, mean_interval
from qmoe_fed.experiments.views.tables import Show, Table, only, paired, percent, points, table

Settings = dict[str, Scalar]
Place = tuple[str, str, str]
"""Task, router and way of sharing."""

CHOICE_SEEDS = 1000, 1001  # other clients than those of the seeds that are reported
CANDIDATES = (0.02, 5), (0.1, 5), (0.1, 1)  # learning rates and local epochs

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
ROUTERS: dict[str, Settings] = {  # the MLP has more parameters than any of the circuits
    "quantum": {"reuploading": False},
    "re-uploading": {"reuploading": True},
    "separable": {"reuploading": False, "entangler": "none"},
    "trig": {"router": "trig"},
    "linear": {"router": "linear"},
    "mlp": {"router": "mlp", "hidden-width": 16},
}


def cross(tasks: Iterable[str], routers: Iterable[str]) -> list[Place]:
    """Return some tasks and routers under every way of sharing."""
    return list(product(tasks, routers, METHODS))


# every router where runs are cheap; on images one task whose clients could share everything and
# one whose clients cannot, without the slowest router
QUICK = cross(["moons, label skew"], ["re-uploading", "linear"])
DEFAULT = [
    *cross(["moons, label skew", "moons, rotation"], ROUTERS),
    *cross(["mnist, dirichlet 0.5"], [name for name in ROUTERS if name != "trig"]),
    *cross(["mnist, concept shift"], ["quantum"]),
]
FULL = cross(TASKS, ROUTERS)


@dataclass(frozen=True)
class Scope(command.Scope):
    """What is asked of the comparison."""

    seeds: int = setting(5, between(2))
    epochs: int = setting(60, between(5))  # of every client over its samples, in all rounds
    full: bool = setting(False)  # all tasks and routers

    @property
    def places(self) -> list[Place]:
        """What is compared."""
        return QUICK if self.quick else FULL if self.full else DEFAULT


@dataclass(frozen=True)
class Comparison(Tree):
    """All settings of the comparison."""

    scope: Scope = field(default_factory=Scope)


def cell(place: Place, seed: int, candidate: tuple[float, int], scope: Scope) -> Cell:
    """Return one run: a place, a seed, a learning rate and a number of local epochs."""
    (task, router, sharing), (rate, local_epochs) = place, candidate
    settings: Settings = {
        **TASKS[task],
        **ROUTERS[router],
        "seed": seed,
        "learning-rate": rate,
        "local-epochs": local_epochs,
        "weight-decay": 0.0,
        "num-server-rounds": scope.epochs // local_epochs,
        "unseen-samples": "8",
        "unseen-epochs": 50,
    }
    use = "choice" if seed in CHOICE_SEEDS else "report"
    about = {"task": task, "router": router, "sharing": sharing, "use": use}
    about |= {"rate": rate, "local_epochs": local_epochs}
    data_dir = str(Path(scope.data_dir).expanduser().absolute()) if scope.data_dir else ""
    arguments = {"settings": settings, "sharing": sharing, "data_dir": data_dir}
    return Cell(shared, about, arguments)


def check(settings: Comparison) -> None:
    """Load the images of every task once, before anything starts."""
    for task in dict.fromkeys(task for task, _, _ in settings.scope.places):
        one = cell((task, "linear", "router"), 0, CANDIDATES[0], settings.scope)
        given = {"data-dir": one.arguments["data_dir"]}
        fit_projection(Config.from_flat({**one.arguments["settings"], **given}))


def report(settings: Comparison, run: Run) -> Report:
    """Choose hyper-parameters, run the seeds, show."""
    scope = settings.scope
    trials = [
        cell(place, seed, candidate, scope)
        for place in scope.places
        for candidate in CANDIDATES
        for seed in CHOICE_SEEDS
    ]
    chosen = choose(run(in_order(trials, scope)), scope.places)
    jobs = [
        cell(place, seed, candidate, scope)
        for place, candidate in chosen.items()
        for seed in scope.streams
    ]
    run(in_order(jobs, scope))
    return show(run(jobs))


def in_order(jobs: Iterable[Cell], scope: Scope) -> list[Cell]:
    """Return jobs so that those with the same images come together: a process keeps one seed's."""

    def key(job: Cell) -> tuple[str, int]:
        return str(job.factors["task"]), job.arguments["settings"]["seed"]

    return sorted(jobs, key=key)


def choose(trials: pd.DataFrame, places: Iterable[Place]) -> dict[Place, tuple[float, int]]:
    """Return the candidate with the best mean accuracy of clients, by place."""
    names = ["task", "router", "sharing", "rate", "local_epochs"]
    mean = trials.groupby(names)["accuracy"].mean()
    return {place: max(CANDIDATES, key=lambda c: mean.loc[(*place, *c)]) for place in places}


def show(rows: pd.DataFrame) -> Report:
    """Return the tables of the reported runs."""
    by_task = [(task, only(rows, task=task)) for task in rows["task"].unique()]
    first = [_gaps(rows), _counts(rows)]
    first += [
        _by_router(f"{task}: accuracy, mean over clients, %", own, lambda f: percent(f["accuracy"]))
        for task, own in by_task
    ]
    first += [
        _by_router(f"{task}: unseen clients, 8 samples, %", own, lambda f: percent(f["unseen"]))
        for task, own in by_task
    ]
    title = "standard deviation over clients / worst 10% of clients (%), bytes up"
    spreads = [_by_router(f"{task}: {title}", own, _spread) for task, own in by_task]
    chosen = table(
        "Learning rate and local epochs chosen on other seeds",
        rows,
        {"task": "task", "router": "router", "shared": "sharing"},
        {
            "rate": lambda f: f"{f['rate'].iloc[0]:g}",
            "local epochs": lambda f: f"{f['local_epochs'].iloc[0]}",
        },
    )
    return Report([*first, _imbalance(rows)], further=[*spreads, chosen])


def _by_router(title: str, rows: pd.DataFrame, text: Show) -> Table:
    columns: dict[str, Show] = {
        router: lambda frame, router=router: text(only(frame, router=router))  # type: ignore[misc]
        for router in rows["router"].unique()
    }
    note = f"Mean ± half its 95% interval over {rows['seed'].nunique()} seeds, last round."
    return table(title, rows, {"shared": "sharing"}, columns, note)


def _spread(frame: pd.DataFrame) -> str:
    std, worst, bytes_up = (frame[name].mean() for name in ("std", "worst10", "bytes_up"))
    return f"{100 * std:.1f} / {100 * worst:.1f}, {bytes_up:,.0f} B"


QUESTIONS = {  # what the shared router is compared with, and by what
    "accuracy − nothing shared": ("accuracy", "nothing"),
    "− everything (FedAvg)": ("accuracy", "everything"),
    "− random router": ("accuracy", "random router"),
    "unseen − nothing shared": ("unseen", "nothing"),
}


def gap(rows: pd.DataFrame, metric: str, other: str) -> Interval:
    """Return by how much the shared router is ahead of another way, paired over seeds."""
    ours, theirs = only(rows, sharing="router"), only(rows, sharing=other)
    return mean_interval(paired(ours, theirs, metric))


def _gaps(rows: pd.DataFrame) -> Table:
    def text(frame: pd.DataFrame, metric: str, other: str) -> str:
        found = gap(frame, metric, other)
        return points(found, sign=True) + {1: " ↑", 0: "  ", -1: " ↓"}[found.sign]

    columns: dict[str, Show] = {
        name: lambda frame, what=what: text(frame, *what)  # type: ignore[misc]
        for name, what in QUESTIONS.items()
    }
    note = "Points, paired over seeds; ↑ ↓: the 95% interval is above or below zero."
    by = {"task": "task", "router": "router"}
    return table("The shared router minus other ways of sharing", rows, by, columns, note)


def _counts(rows: pd.DataFrame) -> Table:
    groups = [frame for _, frame in rows.groupby(["task", "router"], sort=False)]
    lines = []
    for name, what in QUESTIONS.items():
        signs = [gap(frame, *what).sign for frame in groups]
        lines.append((name, *(f"{signs.count(sign)}" for sign in (1, 0, -1)), f"{len(signs)}"))
    header = ("shared router: ", "ahead", "within the interval", "behind", "of")
    return Table("In how many tasks and routers", header, lines)


def _imbalance(rows: pd.DataFrame) -> Table:
    names = {
        "entropy": "entropy",
        "I(expert; class)": "class_information",
        "I(expert; client)": "client_information",
        "max load": "max_load",
    }
    columns: dict[str, Show] = {
        title: lambda frame, name=name: f"{frame[name].mean():.2f}"  # type: ignore[misc]
        for title, name in names.items()
    }
    columns["dead"] = lambda frame: f"{frame['dead_experts'].mean():.1f}"
    title = "Imbalance of the experts, router shared, means over seeds (bits; load; number)"
    by = {"task": "task", "router": "router"}
    return table(title, only(rows, sharing="router"), by, columns)


STUDY = Study(
    name="compare-sharing",
    description=__doc__ or "",
    settings=Comparison,
    report=report,
    sizes={
        "quick": {"quick": True, "seeds": 3, "epochs": 20},
        "full": {"full": True},
    },
    check=check,
)

if __name__ == "__main__":
    sys.exit(main(STUDY))
