"""What do a shared router and privacy mechanisms leak? Attacks on both, on Two Moons.

python simulations/privacy_study.py           some 40 minutes on 2 free cores
python simulations/privacy_study.py --quick   a first look, in less than a minute
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from qmoe_fed.config.settings import Tree, read_toml
from qmoe_fed.experiments.cells import Cell
from qmoe_fed.experiments.command import Report, Scope, Study, main
from qmoe_fed.experiments.engine import Runner
from qmoe_fed.experiments.views.tables import make_tables
from strategies.audits import measures

GRID = read_toml(Path(__file__).with_name("privacy.toml"))
ROUTERS, MECHANISMS, ATTACKS = (GRID[name] for name in ("routers", "mechanisms", "attacks"))
EPSILON = "epsilon"


@dataclass(frozen=True)
class Settings(Tree):
    """All settings of the privacy study."""

    scope: Scope = field(default_factory=Scope)


def cells(settings: Settings) -> Iterator[Cell]:
    """Yield all attacks, one cell for each seed."""
    sizes: dict[str, dict[str, Any]] = GRID["sizes"]["quick" if settings.scope.quick else "default"]
    for seed in settings.scope.streams:
        common = {**GRID["common"], "seed": seed}
        for name, attack in ATTACKS.items():
            measure = attack["measure"]
            for router in sizes["routers"]:
                for mechanism in GRID["sees"][attack["sees"]]:
                    run = {**common, **attack["settings"], **sizes["settings"]}
                    run |= {**ROUTERS[router], **MECHANISMS[mechanism]}
                    about = {"attack": name, "measure": measure, "router": router}
                    about["mechanism"] = mechanism
                    given = {"settings": run, **sizes[measure]}
                    yield Cell(getattr(measures, measure), about, given)
        for mechanism in GRID[EPSILON]["mechanisms"]:
            run = {**common, **GRID[EPSILON]["settings"], **MECHANISMS[mechanism]}
            for canary in GRID[EPSILON]["canaries"]:
                about = {"attack": EPSILON, "mechanism": mechanism, "canary": canary}
                given = {"settings": run, "canary": canary, **sizes["epsilons"]}
                yield Cell(measures.epsilons, about, given)


def report(settings: Settings, run: Runner) -> Report:
    """Run all attacks and show what they found."""
    frame = run([*cells(settings)])
    return Report(make_tables(GRID["tables"], frame))


STUDY = Study(
    "privacy-study",
    __doc__ or "",
    Settings,
    report,
    {"quick": {"quick": True, "seeds": 2}},
)

if __name__ == "__main__":
    sys.exit(main(STUDY))
