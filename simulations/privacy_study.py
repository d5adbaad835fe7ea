"""What do a shared router and privacy mechanisms leak, and what does an ε cost?

python simulations/privacy_study.py --data-dir DIR   three hours on 2 free cores; may be stopped
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
from qmoe_fed.experiments.cells import Cell, Row
from qmoe_fed.experiments.command import Report, Study, main
from qmoe_fed.experiments.engine import Runner
from qmoe_fed.experiments.views.tables import make_tables, only
from strategies.audits import measures

GRID = read_toml(Path(__file__).with_name("privacy.toml"))
ROUTERS, MECHANISMS, ATTACKS = (GRID[name] for name in ("routers", "mechanisms", "attacks"))
EPSILON = "epsilon"


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
    """Return all attacks that are asked for, one cell for each seed.

    Raises:
        UserError: The file of the run that is attacked cannot be read.
    """
    scope = settings.scope
    sizes: dict[str, Any] = GRID["sizes"]["quick" if scope.quick else "default"]
    if scope.audit:
        run = read_toml(scope.run) if scope.run else {}
        about = {"attack": scope.audit, "mechanism": run.get("mechanisms", "none")}
        given = [{"settings": {**run, "seed": n}, "audit": scope.audit} for n in scope.streams]
        return [Cell(measures.own, about, one) for one in given]
    found = []
    for seed in scope.streams:
        common = {**GRID["common"], "seed": seed}
        found += [*_utilities(common, sizes, scope.data_dir), *_attacks(common, sizes)]
    return [c for c in found if scope.only in " / ".join(map(str, c.factors.values()))]


def _utilities(common: Row, sizes: Mapping[str, Any], data_dir: str) -> Iterator[Cell]:
    """Yield what an ε costs; runs that are compared with one another come together."""
    grid = GRID["utility"]
    for (shared, way), (mechanism, own) in product(*(grid[n].items() for n in ("shared", "by"))):
        run = {**common, **grid["settings"], **sizes["utility-settings"], **way}
        names = own.get("mechanisms", "")
        if not {name.strip() for name in names.split(",")} <= {"", *BUILT_IN}:
            continue
        norms = grid["clip-norms"][shared].get(mechanism)
        for epsilon, norm in zip(grid["epsilons"], norms, strict=True) if norms else [(0, 1.0)]:
            about = {"attack": "utility", "router": shared, "mechanism": mechanism}
            about |= {"epsilon": str(epsilon or "–"), "measure": "utilities"}
            given = {"settings": run, "changes": {**own, "clip-norm": norm}, "data_dir": data_dir}
            given |= {"epsilon": float(epsilon), **sizes["utilities"]}
            yield Cell(measures.utilities, about, given)


def _attacks(common: Row, sizes: Mapping[str, Any]) -> Iterator[Cell]:
    for name, attack in ATTACKS.items():
        measure, routers = attack["measure"], attack.get("routers", sizes["routers"])
        chosen = [router for router in sizes["routers"] if router in routers]
        for router, mechanism in product(chosen, GRID["sees"][attack["sees"]]):
            run = {**common, **attack["settings"], **sizes["settings"]}
            run |= {**ROUTERS[router], **MECHANISMS[mechanism]}
            about = {"attack": name, "router": router, "mechanism": mechanism, "measure": measure}
            given = {"settings": run, **sizes[attack.get("size", measure)]}
            yield Cell(getattr(measures, measure), about, given)
    for mechanism, canary in product(GRID[EPSILON]["mechanisms"], GRID[EPSILON]["canaries"]):
        run = {**common, **GRID[EPSILON]["settings"], **MECHANISMS[mechanism]}
        about = {"attack": EPSILON, "mechanism": mechanism, "canary": canary, "measure": "epsilons"}
        given = {"settings": run, "canary": canary, **sizes["epsilons"]}
        yield Cell(measures.epsilons, about, given)


def check(settings: Settings) -> None:
    """Refuse an attack or a run that cannot be, and a choice of nothing."""
    asked, scope = cells(settings), settings.scope
    if not asked:
        raise UserError(f"only = {scope.only!r}: no attack / router / mechanism has that in it")
    if scope.audit:
        load_object(scope.audit, "audit")
        Config.from_flat(asked[0].arguments["settings"])


def report(settings: Settings, run: Runner) -> Report:
    """Run all attacks and show what they found."""
    frame, audit = run(cells(settings)), settings.scope.audit
    if audit:
        names = frame.columns.difference(["attack", "mechanism", "seed", "cell", "seconds"], False)
        columns = [{"name": n, "show": "interval", "of": n, "form": ".3g"} for n in names]
        table = {"title": audit, "by": {"mechanism": "mechanism"}, "columns": columns}
        return Report(make_tables([table], frame))
    costs = only(frame, attack="utility")
    drawn = {} if costs.empty else {"utility-by-epsilon": utility_by_epsilon(costs)}
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
