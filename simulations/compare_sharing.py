"""Is it worth sharing a router? The same tasks under every way of sharing a mixture.

python simulations/compare_sharing.py --data-dir DIR   10 minutes on 2 cores
python simulations/compare_sharing.py --quick          a minute, no files needed
python simulations/compare_sharing.py --full           everything; may be stopped and called again
"""

import sys
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path

import pandas as pd

from qmoe_fed.config import Config
from qmoe_fed.config.settings import Tree, between, setting
from qmoe_fed.data import fit_projection
from qmoe_fed.experiments import command
from qmoe_fed.experiments.cells import Cell
from qmoe_fed.experiments.command import Report, Study, main
from qmoe_fed.experiments.engine import Runner
from qmoe_fed.experiments.measures.sharing import METHODS, shared
from qmoe_fed.experiments.statistics import Interval, mean_interval
from qmoe_fed.experiments.views.tables import (
    Show,
    Table,
    difference,
    first,
    mean,
    only,
    over_seeds,
    paired,
    table,
)

GRID = tomllib.loads((Path(__file__).parent / "sharing.toml").read_text())
TASKS, ROUTERS, COMMON = GRID["tasks"], GRID["routers"], GRID["common"]
CHOICE_SEEDS = 1000, 1001  # other clients than those of the seeds that are reported
CANDIDATES = (0.02, 5), (0.1, 5), (0.1, 1)  # learning rates and local epochs
QUESTIONS = {  # what the shared router is compared with, and by what
    "accuracy − nothing": ("accuracy", "nothing"),
    "− everything": ("accuracy", "everything"),
    "− random router": ("accuracy", "random router"),
    "unseen − nothing": ("unseen", "nothing"),
}

Place = tuple[str, str, str]
"""Task, router and way of sharing."""


@dataclass(frozen=True)
class Scope(command.Scope):
    """What is asked of the comparison."""

    seeds: int = setting(5, between(2))
    epochs: int = setting(60, between(5))  # of every client over its samples, in all rounds
    full: bool = setting(False)  # all tasks and routers

    @property
    def places(self) -> list[Place]:
        """What is compared."""
        size = "quick" if self.quick else "full" if self.full else "default"
        return [
            place
            for part in GRID["sizes"][size]
            for place in product(part["tasks"], part["routers"], METHODS)
        ]


@dataclass(frozen=True)
class Settings(Tree):
    """All settings of the comparison."""

    scope: Scope = field(default_factory=Scope)


def cell(place: Place, seed: int, candidate: tuple[float, int], scope: Scope) -> Cell:
    """Return one run: a place, a seed, a learning rate and a number of local epochs."""
    (task, router, sharing), (rate, local_epochs) = place, candidate
    settings = {
        **COMMON,
        **TASKS[task],
        **ROUTERS[router],
        "seed": seed,
        "learning-rate": rate,
        "local-epochs": local_epochs,
        "num-server-rounds": scope.epochs // local_epochs,
    }
    use = "choice" if seed in CHOICE_SEEDS else "report"
    about = {"task": task, "router": router, "sharing": sharing, "use": use}
    about |= {"rate": rate, "local_epochs": local_epochs}
    data_dir = str(Path(scope.data_dir).expanduser().absolute()) if scope.data_dir else ""
    return Cell(shared, about, {"settings": settings, "sharing": sharing, "data_dir": data_dir})


def check(settings: Settings) -> None:
    """Load the images of every task once, before anything starts."""
    for task in dict.fromkeys(task for task, _, _ in settings.scope.places):
        one = cell((task, "linear", "router"), 0, CANDIDATES[0], settings.scope).arguments
        fit_projection(Config.from_flat({**one["settings"], "data-dir": one["data_dir"]}))


def report(settings: Settings, run: Runner) -> Report:
    """Choose hyper-parameters, run the seeds, show."""
    scope = settings.scope
    trials = [cell(*about, scope) for about in product(scope.places, CHOICE_SEEDS, CANDIDATES)]
    chosen = choose(run(in_order(trials)), scope.places)
    jobs = [cell(place, seed, chosen[place], scope) for place in chosen for seed in scope.streams]
    run(in_order(jobs))
    return show(run.store.frame(jobs))


def in_order(jobs: Iterable[Cell]) -> list[Cell]:
    """Return jobs so that those with the same images come together: a process keeps one seed's."""
    return sorted(jobs, key=lambda job: (job.factors["task"], job.arguments["settings"]["seed"]))


def choose(trials: pd.DataFrame, places: Iterable[Place]) -> dict[Place, tuple[float, int]]:
    """Return the candidate with the best mean accuracy of clients, by place."""
    names = ["task", "router", "sharing", "rate", "local_epochs"]
    scores = trials.groupby(names)["accuracy"].mean()
    return {place: max(CANDIDATES, key=lambda c: scores.loc[(*place, *c)]) for place in places}


def gap(rows: pd.DataFrame, metric: str, other: str) -> Interval:
    """Return by how much the shared router is ahead of another way, paired over seeds."""
    return mean_interval(paired(only(rows, sharing="router"), only(rows, sharing=other), metric))


def show(rows: pd.DataFrame) -> Report:
    """Return the tables of the reported runs."""
    by_task = [(task, only(rows, task=task)) for task in rows["task"].unique()]
    first_tables = [_gaps(rows), _counts(rows)]
    for title, metric in (("mean over clients", "accuracy"), ("unseen, 8 samples", "unseen")):
        first_tables += [
            _by_router(f"{task}: accuracy, {title}, %", own, over_seeds(metric))
            for task, own in by_task
        ]
    title = "standard deviation over clients / worst 10% of clients (%), bytes up"
    spreads = [_by_router(f"{task}: {title}", own, _spread) for task, own in by_task]
    by = {"task": "task", "router": "router"}
    chosen = {"rate": first("rate"), "local epochs": first("local_epochs")}
    title = "Learning rate and local epochs chosen on other seeds"
    choices = table(title, rows, {**by, "shared": "sharing"}, chosen)
    uses = {
        "entropy": mean("entropy", ".2f"),
        "I(expert; class)": mean("class_information", ".2f"),
        "I(expert; client)": mean("client_information", ".2f"),
        "max load": mean("max_load", ".2f"),
        "dead": mean("dead_experts", ".1f"),
    }
    title = "Imbalance of the experts, router shared, means over seeds (bits; load; number)"
    imbalance = table(title, only(rows, sharing="router"), by, uses)
    return Report([*first_tables, imbalance], further=[*spreads, choices])


def _by_router(title: str, rows: pd.DataFrame, text: Show) -> Table:
    columns: dict[str, Show] = {
        router: lambda frame, router=router: text(only(frame, router=router))
        for router in rows["router"].unique()
    }
    note = f"Mean ± half its 95% interval over {rows['seed'].nunique()} seeds, last round."
    return table(title, rows, {"shared": "sharing"}, columns, note)


def _spread(frame: pd.DataFrame) -> str:
    std, worst, bytes_up = (frame[name].mean() for name in ("std", "worst10", "bytes_up"))
    return f"{100 * std:.1f} / {100 * worst:.1f}, {bytes_up:,.0f} B"


def _gaps(rows: pd.DataFrame) -> Table:
    def text(frame: pd.DataFrame, metric: str, other: str) -> str:
        ours, theirs = only(frame, sharing="router"), only(frame, sharing=other)
        mark = {1: " ↑", 0: "  ", -1: " ↓"}[gap(frame, metric, other).sign]
        return difference(paired(ours, theirs, metric)) + mark

    columns: dict[str, Show] = {
        name: lambda frame, what=what: text(frame, *what) for name, what in QUESTIONS.items()
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
    header = ("shared router", "ahead", "within the interval", "behind", "of")
    return Table("In how many tasks and routers", header, lines)


STUDY = Study(
    "compare-sharing",
    __doc__ or "",
    Settings,
    report,
    {"quick": {"quick": True, "seeds": 3, "epochs": 20}, "full": {"full": True}},
    check,
)

if __name__ == "__main__":
    sys.exit(main(STUDY))
