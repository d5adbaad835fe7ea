"""Studies whose cells fit models to Two Moons, and that show tables: settings and command."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from qmoe_fed.config.settings import Tree
from qmoe_fed.experiments import command
from qmoe_fed.experiments.cells import Cell
from qmoe_fed.experiments.command import Scope, Study
from qmoe_fed.experiments.datasets import MOONS, Source
from qmoe_fed.experiments.protocol import Protocol

QUICK = {"quick": True, "seeds": 2, "max-epochs": 3}


@dataclass(frozen=True)
class Settings(Tree):
    """All settings of such a study."""

    scope: Scope = field(default_factory=Scope)
    protocol: Protocol = field(default_factory=Protocol)

    @property
    def moons(self) -> dict[str, Any]:
        """Two Moons for all seeds and the protocol, as measures take them."""
        scope, protocol = self.scope, self.protocol
        source = Source(MOONS, scope.seeds, scope.first_seed, protocol.seed)
        return {"source": source, "protocol": protocol}


def tabled(
    name: str,
    description: str,
    cells: Callable[[Settings], Iterable[Cell]],
    tables: Sequence[Mapping[str, Any]],
) -> Study[Settings]:
    """Return the study that runs cells and shows tables, with these settings."""
    return command.tabled(name, description, Settings, cells, tables, QUICK)
