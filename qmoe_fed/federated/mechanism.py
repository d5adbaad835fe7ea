"""Privacy mechanisms: what happens to updates before they leave a client, and on the server.

A mechanism is a small class with a client half and a server half, either of which may be left
out. A run has a chain of them. The client halves run in the order in which they are named; the
server halves wrap each other and the aggregator, the first named outermost, like Flower's mods.

A user's own mechanism derives from ``Mechanism`` and is named in the config by its import path;
``mechanism-options`` become its keyword arguments.
"""

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from functools import partial
from typing import ClassVar, Self, TypeVar

from torch import Tensor

from qmoe_fed.config import Config
from qmoe_fed.errors import UserError
from qmoe_fed.federated.updates import Cohort

Memory = dict[str, int | float | Tensor]
"""What is remembered between rounds: numbers and tensors by name."""

Value = TypeVar("Value")

Aggregate = Callable[[Cohort], Tensor]
"""What remains of the server's chain: turns a cohort into one update ``(P,)``."""


class Mechanism:
    """A mechanism that does nothing; derive from it and override what is needed."""

    releases_empty_round: ClassVar[bool] = False
    """Whether the server half copes with a cohort of nobody and wants it; if not, a round in which
    nobody is left does not count."""

    tells_loss: ClassVar[bool] = True
    """Whether the mean training loss of a round is known, and so reported."""

    @classmethod
    def from_config(cls, config: Config, options: dict[str, object]) -> Self:
        """Return the mechanism of a run; by default, the options are keyword arguments."""
        return cls(**options)

    def check(self, config: Config, chain: Sequence["Mechanism"]) -> None:
        """Raise UserError where a run with this chain would not have the privacy it claims."""

    def on_client(
        self, updates: Tensor, clients: Sequence[int], server_round: int, seed: int
    ) -> Tensor:
        """Return what the clients send instead of their updates.

        A host begins every round with fresh mechanisms: nothing is remembered between them.

        Args:
            updates: Shape ``(k, P)``, float64, one row per client; rows must not be mixed.
            clients: Their ids, length k.
            seed: Seed of the run, for ``qmoe_fed.rng``.
        """
        return updates

    def before_round(self, server_round: int) -> None:
        """Prepare, on the server, for a round, before clients are sampled.

        Flower's PrivacyBudgetExhausted, raised here, ends the run before this round.
        """

    def on_server(
        self, cohort: Cohort, aggregate: Aggregate, server_round: int, seed: int
    ) -> Tensor:
        """Return the aggregated update ``(P,)`` that the server step gets.

        Args:
            cohort: The updates that passed the gate.
            aggregate: The rest of the chain; call it with the cohort, changed or not.
        """
        return aggregate(cohort)

    def metrics(self) -> dict[str, float]:
        """Return what to report after a round, e.g. ``{"epsilon": 1.2}``."""
        return {}

    def state_dict(self) -> Memory:
        """Return what a resumed run needs to know: numbers and tensors.

        A class that works on the server defines this and ``load_state_dict`` itself, also if it
        remembers nothing; otherwise its runs make no checkpoints.
        """
        return {}

    def load_state_dict(self, state: Memory) -> None:
        """Go on from a saved state."""

    @property
    def has_server_half(self) -> bool:
        """Whether ``on_server`` is overridden."""
        return type(self).on_server is not Mechanism.on_server

    @property
    def runs_on_server(self) -> bool:
        """Whether anything of it needs a strategy that calls it: its server half, accounts."""
        kind = type(self)
        accounts = (kind.before_round, kind.metrics) != (Mechanism.before_round, Mechanism.metrics)
        return accounts or self.has_server_half


def on_server(
    mechanisms: Sequence[Mechanism], cohort: Cohort, aggregate: Aggregate, number: int, seed: int
) -> Tensor:
    """Return the aggregated update ``(P,)`` of a round: all server halves around ``aggregate``."""
    if not mechanisms:
        return aggregate(cohort)
    first, *rest = mechanisms
    inner = partial(on_server, rest, aggregate=aggregate, number=number, seed=seed)
    return first.on_server(cohort, inner, number, seed)


def grouped(groups: Mapping[str, Mapping[str, Value]]) -> dict[str, Value]:
    """Return the entries of all groups under flat names ``group.name``."""
    return {f"{group}.{k}": v for group, entries in groups.items() for k, v in entries.items()}


def group_of(entries: Mapping[str, Value], group: str) -> dict[str, Value]:
    """Return the entries of one group by their own names; undoes ``grouped``."""
    prefix = f"{group}."
    return {k.removeprefix(prefix): v for k, v in entries.items() if k.startswith(prefix)}


def protect(
    mechanisms: Sequence[Mechanism],
    updates: Tensor,
    clients: Sequence[int],
    server_round: int,
    seed: int,
) -> Tensor:
    """Return what the client halves of mechanisms let out of updates ``(k, P)``.

    Raises:
        UserError: One of them returned another shape.
    """
    for mechanism in deepcopy(mechanisms):
        changed = mechanism.on_client(updates, clients, server_round, seed)
        if changed.shape != updates.shape:
            raise UserError(
                f"mechanism {type(mechanism).__name__}: on_client returned shape "
                f"{tuple(changed.shape)}, expected {tuple(updates.shape)}"
            )
        updates = changed
    return updates
