"""What do a shared router and privacy mechanisms leak, and what does an ε cost?

python simulations/privacy_study.py --data-dir DIR   an hour on 2 free cores; may be stopped
python simulations/privacy_study.py --quick          a first look, in less than two minutes
python simulations/privacy_study.py --only utility   some of it: what is in "attack / router / …"
python simulations/privacy_study.py --audit my_attack:attack --run my_run.toml
"""

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

from privacy_views import utility_by_epsilon

from qmoe_fed.config import Config
from qmoe_fed.config.plugins import MECHANISMS as BUILT_IN
from qmoe_fed.config.plugins import load_object
from qmoe_fed.config.settings import Tree, read_toml, setting
from qmoe_fed.errors import UserError
from qmoe_fed.experiments import command
from qmoe_fed.experiments.cells import Cell
from qmoe_fed.experiments.command import Report, Study, main
from qmoe_fed.experiments.engine import Runner
from qmoe_fed.experiments.views.tables import make_tables, only
from strategies.audits import measures

GRID = read_toml(Path(__file__).with_name("privacy.toml"))
ROUTERS, MECHANISMS, ATTACKS = (GRID[name] for name in ("routers", "mechanisms", "attacks"))
EPSILON, UTILITY, OWN = "epsilon", "utility", "own"


@dataclass(frozen=True)
class Scope(command.Scope):
    """What is asked of the privacy study."""

    only: str = setting("")  # what must stand in "attack / router / mechanism"; empty: all
    audit: str = setting("")  # import path of a function (Config) -> numbers by name
    run: str = setting("")  # TOML file with the settings of the run that it attacks


@dataclass(frozen=True)
class Settings(Tree):
    """All settings of the privacy study."""

    scope: Scope = field(default_factory=Scope)


def cells(settings: Settings) -> list[Cell]:
    """Return all attacks that are asked for, one cell for each seed."""
    scope = settings.scope
    sizes: dict[str, Any] = GRID["sizes"]["quick" if scope.quick else "default"]
    if scope.audit:
        return [*_own(scope)]
    found = []
    for seed in scope.streams:
        common = {**GRID["common"], "seed": seed}
        data_dir = str(Path(scope.data_dir).expanduser().absolute()) if scope.data_dir else ""
        found += [*_utilities(common, sizes, data_dir), *_attacks(common, sizes)]
    return [c for c in found if scope.only in " / ".join(map(str, list(c.factors.values())))]


def _own(scope: Scope) -> Iterator[Cell]:
    run = read_toml(scope.run) if scope.run else {}
    about = {"attack": OWN, "measure": scope.audit, "mechanism": run.get("mechanisms", "none")}
    for seed in scope.streams:
        given = {"settings": {**run, "seed": seed}, "audit": scope.audit}
        yield Cell(measures.own, about, given)


def _utilities(
    common: Mapping[str, Any], sizes: Mapping[str, Any], data_dir: str
) -> Iterator[Cell]:
    """Yield what an ε costs; runs that are compared with one another come together."""
    grid = GRID[UTILITY]
    for shared, way in grid["shared"].items():
        run = {**common, **grid["settings"], **sizes["utility-settings"], **way}
        for mechanism, own in grid["mechanisms"].items():
            names = own.get("mechanisms", "")
            if not {name.strip() for name in names.split(",")} <= {"", *BUILT_IN}:
                continue
            norms = grid["clip-norms"][shared].get(mechanism, [])
            levels = zip(grid["epsilons"], norms, strict=True) if names else [(0, 1.0)]
            for epsilon, norm in levels:
                about = {"attack": UTILITY, "router": shared, "mechanism": mechanism}
                about |= {"epsilon": str(epsilon or "–"), "measure": "utilities"}
                given = {"settings": run, "changes": {**own, "clip-norm": norm}}
                given |= {"epsilon": float(epsilon), "data_dir": data_dir, **sizes["utilities"]}
                yield Cell(measures.utilities, about, given)


def _attacks(common: Mapping[str, Any], sizes: Mapping[str, Any]) -> Iterator[Cell]:
    for name, attack in ATTACKS.items():
        measure, routers = attack["measure"], attack.get("routers", sizes["routers"])
        chosen = [router for router in sizes["routers"] if router in routers]
        for router, mechanism in product(chosen, GRID["sees"][attack["sees"]]):
            run = {**common, **attack["settings"], **sizes["settings"]}
            run |= {**ROUTERS[router], **MECHANISMS[mechanism]}
            about = {"attack": name, "router": router, "mechanism": mechanism, "measure": measure}
            given = {"settings": run, **attack.get("arguments", {}), **sizes[measure]}
            yield Cell(getattr(measures, measure), about, given)
    for mechanism, canary in product(GRID[EPSILON]["mechanisms"], GRID[EPSILON]["canaries"]):
        run = {**common, **GRID[EPSILON]["settings"], **MECHANISMS[mechanism]}
        about = {"attack": EPSILON, "mechanism": mechanism, "canary": canary, "measure": "epsilons"}
        given = {"settings": run, "canary": canary, **sizes["epsilons"]}
        yield Cell(measures.epsilons, about, given)


def check(settings: Settings) -> None:
    """Refuse an audit or a run that cannot be, and a choice of nothing."""
    scope = settings.scope
    if bool(scope.audit) != bool(scope.run):
        raise UserError("audit and run go together: a function, and the run that it attacks")
    if scope.audit:
        load_object(scope.audit, "audit")
        Config.from_flat(read_toml(scope.run))
    if not cells(settings):
        raise UserError(f"only = {scope.only!r}: no attack / router / mechanism has that in it")


def report(settings: Settings, run: Runner) -> Report:
    """Run all attacks and show what they found."""
    frame = run(cells(settings))
    if settings.scope.audit:
        known = {"attack", "measure", "mechanism", "seed", "cell", "seconds"}
        columns = [
            {"name": name, "show": "interval", "of": name, "form": ".3g"}
            for name in frame
            if name not in known
        ]
        about = {"title": settings.scope.audit, "by": {"mechanism": "mechanism"}}
        return Report(make_tables([{**about, "columns": columns}], frame))
    utility = only(frame, attack=UTILITY)
    drawn = {} if utility.empty else {"utility-by-epsilon": utility_by_epsilon(utility)}
    return Report(make_tables(GRID["tables"], frame), drawn)


STUDY = Study(
    "privacy-study",
    __doc__ or "",
    Settings,
    report,
    {"quick": {"quick": True, "seeds": 2}},
    check,
)

if __name__ == "__main__":
    sys.exit(main(STUDY))
