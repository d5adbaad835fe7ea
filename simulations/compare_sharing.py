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
from qmoe_fed.experiments.statistics import mean_interval
from qmoe_fed.experiments.views.tables import Table, make_tables, only, paired

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
    rows = run.store.frame(jobs)
    return Report([*make_tables(GRID["tables"], rows), counts(rows)])


def in_order(jobs: Iterable[Cell]) -> list[Cell]:
    """Return jobs so that those with the same images come together: a process keeps one seed's."""
    return sorted(jobs, key=lambda job: (job.factors["task"], job.arguments["settings"]["seed"]))


def choose(trials: pd.DataFrame, places: Iterable[Place]) -> dict[Place, tuple[float, int]]:
    """Return the candidate with the best mean accuracy of clients, by place."""
    names = ["task", "router", "sharing", "rate", "local_epochs"]
    scores = trials.groupby(names)["accuracy"].mean()
    return {place: max(CANDIDATES, key=lambda c: scores.loc[(*place, *c)]) for place in places}


def counts(rows: pd.DataFrame) -> Table:
    """Return in how many places the shared router is ahead of another way, paired over seeds."""
    groups = [frame for _, frame in rows.groupby(["task", "router"])]
    lines = []
    for name, (metric, other) in QUESTIONS.items():
        pairs = ((only(frame, sharing=way) for way in ("router", other)) for frame in groups)
        signs = [mean_interval(paired(*pair, metric)).sign for pair in pairs]
        lines.append((name, *(f"{signs.count(sign)}" for sign in (1, 0, -1)), f"{len(signs)}"))
    header = ("shared router", "ahead", "within the interval", "behind", "of")
    note = "Ahead, behind: the whole 95% interval of the paired difference is above or below zero."
    return Table("In how many tasks and routers", header, lines, note)


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
