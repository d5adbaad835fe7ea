"""Privacy mechanisms: what happens to updates before they leave a client, and on the server.

A mechanism is a small class with a client half and a server half, either of which may be left
out. A run has a chain of them. The client halves run in the order in which they are named; the
server halves wrap each other and the aggregator, the first named outermost, like Flower's mods.

A user's own mechanism derives from ``Mechanism`` and is named in the config by its import path;
``mechanism-options`` become its keyword arguments.
"""

from collections.abc import Callable, Sequence
from typing import ClassVar, Self

from torch import Tensor

from qmoe_fed.config import Config
from qmoe_fed.config.plugins import load_object
from qmoe_fed.config.settings import parse_options
from qmoe_fed.errors import UserError, unknown
from qmoe_fed.federated.records import Cohort

Aggregate = Callable[[Cohort], Tensor]
"""What remains of the server's chain: turns a cohort into one update ``(P,)``."""

BUILT_IN = {"central-dp": "strategies.central_dp:CentralDP"}


class Mechanism:
    """A mechanism that does nothing; derive from it and override what is needed.

    Attributes:
        releases_empty_round: Whether the server half copes with a cohort of nobody and wants it;
            if not, a round in which nobody is left does not count.
    """

    releases_empty_round: ClassVar[bool] = False

    @classmethod
    def from_config(cls, config: Config, options: dict[str, object]) -> Self:
        """Return the mechanism of a run; by default, the options are keyword arguments."""
        return cls(**options)

    def check(self, config: Config, chain: Sequence["Mechanism"]) -> None:
        """Refuse what the mechanism cannot go with, before the run starts.

        Args:
            config: The whole run.
            chain: All mechanisms of the run, this one among them.

        Raises:
            UserError: The run would not have the privacy it claims.
        """

    def on_client(
        self, updates: Tensor, clients: Sequence[int], server_round: int, seed: int
    ) -> Tensor:
        """Return what the clients send instead of their updates.

        A host builds its mechanisms anew for each message: nothing is remembered between rounds.

        Args:
            updates: Shape ``(k, P)``, float64, one row per client; rows must not be mixed.
            clients: Their ids, length k.
            server_round: The round.
            seed: Seed of the run, for ``qmoe_fed.rng``.
        """
        return updates

    def before_round(self, server_round: int) -> None:
        """Prepare for a round, on the server, before clients are sampled.

        Raises:
            PrivacyBudgetExhausted: Flower's exception: the run has to end before this round.
        """

    def on_server(
        self, cohort: Cohort, aggregate: Aggregate, server_round: int, seed: int
    ) -> Tensor:
        """Return the aggregated update ``(P,)`` that the server step gets.

        Args:
            cohort: The updates that passed the gate.
            aggregate: The rest of the chain; call it with the cohort, changed or not.
            server_round: The round.
            seed: Seed of the run.
        """
        return aggregate(cohort)

    def metrics(self) -> dict[str, float]:
        """Return what to report after a round, e.g. ``{"epsilon": 1.2}``."""
        return {}

    def state_dict(self) -> dict[str, int | float | Tensor]:
        """Return what a resumed run needs to know: numbers and tensors.

        A class that works on the server defines this and ``load_state_dict`` itself, also if it
        remembers nothing; otherwise its runs make no checkpoints.
        """
        return {}

    def load_state_dict(self, state: dict[str, int | float | Tensor]) -> None:
        """Go on from a saved state."""

    @property
    def has_server_half(self) -> bool:
        """Whether ``on_server`` is overridden."""
        return self._overrides("on_server")

    @property
    def runs_on_server(self) -> bool:
        """Whether anything of it needs a strategy that calls it: its server half, accounts."""
        return self._overrides("on_server", "before_round", "metrics")

    def _overrides(self, *names: str) -> bool:
        return any(getattr(type(self), name) is not getattr(Mechanism, name) for name in names)


def make_mechanisms(config: Config) -> tuple[Mechanism, ...]:
    """Return the mechanisms a config names, in order; the same on server and clients.

    Raises:
        UserError: A name is unknown, cannot be loaded, or does not take the options.
    """
    names = [name.strip() for name in config.privacy.mechanisms.split(",") if name.strip()]
    options = parse_options("mechanism-options", config.privacy.mechanism_options)
    owners = sum(":" in name for name in names)
    if options and owners != 1:
        raise UserError(
            f"mechanism-options = {config.privacy.mechanism_options!r}: they belong to the one "
            f"mechanism that is named by import path; mechanisms names {owners} of these"
        )
    return tuple(_make(name, config, options if ":" in name else {}) for name in names)


def _make(name: str, config: Config, options: dict[str, object]) -> Mechanism:
    if name not in BUILT_IN and ":" not in name:
        raise unknown("mechanism", name, BUILT_IN, "Or an import path 'package.module:attribute'.")
    kind = load_object(BUILT_IN.get(name, name), "mechanism")
    if not (isinstance(kind, type) and issubclass(kind, Mechanism)):
        raise UserError(f"mechanism {name!r}: is not a class derived from strategies.Mechanism")
    try:
        return kind.from_config(config, options)
    except UserError:
        raise
    except (TypeError, ValueError) as error:
        raise UserError(f"mechanism {name!r}, mechanism-options {options}: {error}") from error


def on_server(
    mechanisms: Sequence[Mechanism],
    cohort: Cohort,
    aggregate: Aggregate,
    server_round: int,
    seed: int,
) -> Tensor:
    """Return the aggregated update ``(P,)``: all server halves around ``aggregate``."""
    if not mechanisms:
        return aggregate(cohort)
    first, *rest = mechanisms
    return first.on_server(
        cohort,
        lambda inner: on_server(rest, inner, aggregate, server_round, seed),
        server_round,
        seed,
    )
