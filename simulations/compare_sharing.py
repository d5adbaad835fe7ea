"""Is it worth sharing a router? The same tasks under every way of sharing a mixture.

python simulations/compare_sharing.py --data-dir DIR   an hour on 2 cores; may be stopped
python simulations/compare_sharing.py --quick          half a minute, no files needed
python simulations/compare_sharing.py --pixels         images: experts that see every pixel
python simulations/compare_sharing.py --full           everything; may be stopped and called again
"""

import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

import pandas as pd

from qmoe_fed.config import Config
from qmoe_fed.config.settings import Scalar, Tree, between, one_of, read_toml, setting
from qmoe_fed.data import fit_projection
from qmoe_fed.experiments import command
from qmoe_fed.experiments.cells import Cell
from qmoe_fed.experiments.command import Report, Study, main
from qmoe_fed.experiments.engine import Runner
from qmoe_fed.experiments.measures.sharing import shared
from qmoe_fed.experiments.statistics import mean_interval
from qmoe_fed.experiments.views.tables import Table, make_tables, only, paired

GRID = read_toml(Path(__file__).parent / "sharing.toml")
CHOICE_SEEDS = 1000, 1001  # other clients than those of the seeds that are reported
FACTORS = ["task", "router", "sharing"]

Place = tuple[str, str, str]
"""Task, router and way of sharing."""

Candidate = Mapping[str, Scalar]
"""Hyper-parameters."""


@dataclass(frozen=True)
class Scope(command.Scope):
    """What is asked of the comparison."""

    epochs: int = setting(60, between(5))  # of every client over its samples, in all rounds
    size: str = setting("default", one_of("default", "pixels", "files", "full"))
    only: str = setting("")  # what must stand in "task / router / way"; empty: all

    @property
    def places(self) -> list[Place]:
        """What is compared."""
        found = [
            place
            for part in GRID["sizes"]["quick" if self.quick else self.size]
            for ways in part["ways"]
            for place in product(part["tasks"], part["routers"], GRID["sets"][ways])
        ]
        return [place for place in found if self.only in " / ".join(place)]


@dataclass(frozen=True)
class Settings(Tree):
    """All settings of the comparison."""

    scope: Scope = field(default_factory=Scope)


def candidates(place: Place) -> list[Candidate]:
    """Return the hyper-parameters that are tried."""
    classical = GRID["ways"][place[2]].get("method") == "classical"
    found: list[Candidate] = GRID["candidates"]["classical" if classical else "training"]
    return found


def cell(place: Place, seed: int, candidate: Candidate, scope: Scope) -> Cell:
    """Return one run: a place, a seed and hyper-parameters."""
    task, router, sharing = place
    way = {"method": "federated", "options": {}, **GRID["ways"][sharing]}
    method, options = way.pop("method"), way.pop("options")
    own, epochs = dict(candidate), candidate.get("local-epochs", scope.epochs)
    if "strength" in candidate:
        options, own = {**options, **candidate}, {}
    named = {**GRID["common"], **way, **GRID["routers"][router], **GRID["tasks"][task]}
    settings = {**named, **own, "seed": seed, "num-server-rounds": scope.epochs // int(epochs)}
    use = "choice" if seed in CHOICE_SEEDS else "report"
    about = dict(zip(FACTORS, place, strict=True)) | {"use": use, "candidate": name(candidate)}
    data_dir = str(Path(scope.data_dir).expanduser().absolute()) if scope.data_dir else ""
    arguments = {"settings": settings, "method": method, "data_dir": data_dir, **options}
    return Cell(shared, about, arguments)


def name(candidate: Candidate) -> str:
    """Return hyper-parameters as they stand in tables."""
    return ", ".join(f"{key} {value}" for key, value in candidate.items())


def check(settings: Settings) -> None:
    """Load the images of every task once, before anything starts."""
    for task in dict.fromkeys(task for task, _, _ in settings.scope.places):
        one = cell((task, "linear", "router"), 0, {}, settings.scope).arguments
        fit_projection(Config.from_flat({**one["settings"], "data-dir": one["data_dir"]}))


def report(settings: Settings, run: Runner) -> Report:
    """Choose hyper-parameters, run the seeds, show."""
    scope = settings.scope
    trials = run(
        in_order(
            cell(place, seed, candidate, scope)
            for place in scope.places
            for seed, candidate in product(CHOICE_SEEDS, candidates(place))
        )
    )
    chosen = choose(trials, scope.places)
    jobs = [cell(place, seed, chosen[place], scope) for place in chosen for seed in scope.streams]
    run(in_order(jobs))
    rows = run.store.frame(jobs)
    return Report([*counts(rows, trials), *make_tables(GRID["tables"], rows)])


def in_order(jobs: Iterable[Cell]) -> list[Cell]:
    """Return jobs so that those with the same images come together: a process keeps one seed's."""
    return sorted(jobs, key=lambda job: (job.factors["task"], job.arguments["settings"]["seed"]))


def choose(trials: pd.DataFrame, places: Iterable[Place]) -> dict[Place, Candidate]:
    """Return the candidate with the best mean accuracy of clients, by place."""
    scores = trials.groupby([*FACTORS, "candidate"])["accuracy"].mean()
    return {
        place: max(candidates(place), key=lambda one: scores.loc[(*place, name(one))])
        for place in places
    }


def counts(rows: pd.DataFrame, trials: pd.DataFrame) -> list[Table]:
    """Return in how many places ways of sharing are ahead of others, paired over seeds."""
    return [
        _count(question, rows, trials)
        for question in GRID["questions"]
        if question["way"] in set(rows["sharing"])
    ]


def _count(question: Mapping[str, Any], rows: pd.DataFrame, trials: pd.DataFrame) -> Table:
    way, metric = question["way"], question["metric"]
    ahead: dict[str, list[int]] = {}
    for (task, router), own in rows.groupby(["task", "router"], sort=False):
        ways = set(own["sharing"])
        if way not in ways:
            continue
        seen = only(trials, task=task, router=router)
        chosen = own[["sharing", "candidate"]].drop_duplicates()
        score = seen.merge(chosen).groupby("sharing")[metric].mean()
        rivals = {other: other for other in question["against"] if other in ways}
        if group := [other for other in question.get("best", []) if other in ways]:
            rivals["the best of all" if len(group) > 2 else "the better of both"] = max(
                group, key=lambda other: score[other]
            )
        for label, other in rivals.items():
            pair = (only(own, sharing=one) for one in (way, other))
            ahead.setdefault(label, []).append(mean_interval(paired(*pair, metric)).sign)
    lines = [
        (label, *(f"{signs.count(sign)}" for sign in (1, 0, -1)), f"{len(signs)}")
        for label, signs in ahead.items()
    ]
    header = ("against", "ahead", "within the interval", "behind", "of")
    note = (
        "Tasks and routers where the whole 95% interval of the paired difference is above or below "
        "zero. The best of others is chosen on the seeds of the choice."
    )
    return Table(f"{way}: {metric}", header, lines, note)


STUDY = Study(
    "compare-sharing",
    __doc__ or "",
    Settings,
    report,
    {
        "quick": {"quick": True, "seeds": 3, "epochs": 20},
        "pixels": {"size": "pixels"},
        "full": {"size": "full"},
    },
    check,
)

if __name__ == "__main__":
    sys.exit(main(STUDY))
