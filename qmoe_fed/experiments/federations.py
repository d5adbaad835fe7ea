"""Studies of federations: each a file of settings, and the rounds after which they are scored."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

from qmoe_fed.config.settings import Tree, between, read_toml, setting
from qmoe_fed.experiments import command
from qmoe_fed.experiments.cells import Cell
from qmoe_fed.experiments.command import Study
from qmoe_fed.experiments.measures.rounds import rounds

QUICK = {"quick": True, "seeds": 2}


@dataclass(frozen=True)
class Scope(command.Scope):
    """What is asked of the study."""

    seeds: int = setting(5, between(2))


@dataclass(frozen=True)
class Settings(Tree):
    """All settings of the study."""

    scope: Scope = field(default_factory=Scope)


def cells(grid: Mapping[str, Any], scope: Scope) -> Iterator[Cell]:
    """Yield a federation for each run and seed.

    Args:
        grid: ``settings`` of all; ``runs``: by name, the settings of its own, where a list stands
            for as many runs, each one's value being a factor too; ``factor``, what their names are
            called; ``rounds``, after which they are scored.
        scope: The seeds; ``quick`` takes the first of each list and the rounds ``quick``.
    """
    at = grid["rounds"]["quick" if scope.quick else "at"]
    for name, own in grid["runs"].items():
        lists = {k: v[:1] if scope.quick else v for k, v in own.items() if isinstance(v, list)}
        for values in product(*lists.values()):
            chosen = dict(zip(lists, values, strict=True))
            for seed in scope.streams:
                given = {"settings": {**grid["settings"], **own, **chosen, "seed": seed}, "at": at}
                yield Cell(rounds, {grid["factor"]: name, **chosen}, given)


def of_file(script: str, description: str) -> Study[Settings]:
    """Return the study in the TOML file beside ``<name>_study.py``: ``cells``, and ``tables``."""
    path = Path(script)
    name = path.stem.removesuffix("_study")
    grid = read_toml(path.with_name(f"{name}.toml"))

    def asked(settings: Settings) -> Iterator[Cell]:
        return cells(grid, settings.scope)

    return command.tabled(f"{name}-study", description, Settings, asked, grid["tables"], QUICK)
