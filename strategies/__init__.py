"""What the server does with the clients' updates, and what users extend."""

from typing import TYPE_CHECKING, Any

from qmoe_fed.federated.build import make_mechanisms
from qmoe_fed.federated.mechanism import Aggregate, Mechanism
from qmoe_fed.federated.rules import TooFewClients
from qmoe_fed.federated.updates import Limits
from strategies.aggregators import krum, mean, median, trimmed_mean
from strategies.central_dp import CentralDP
from strategies.local_dp import LocalDP
from strategies.server_steps import Adam, Momentum, Plain

if TYPE_CHECKING:
    from qmoe_fed.federated.flower.strategy import RouterStrategy

__all__ = [
    "Adam",
    "Aggregate",
    "CentralDP",
    "Limits",
    "LocalDP",
    "Mechanism",
    "Momentum",
    "Plain",
    "RouterStrategy",
    "TooFewClients",
    "krum",
    "make_mechanisms",
    "mean",
    "median",
    "trimmed_mean",
]


def __getattr__(name: str) -> Any:
    # imported late: a federation that is called directly has no use for Flower
    if name == "RouterStrategy":
        from qmoe_fed.federated.flower.strategy import RouterStrategy

        return RouterStrategy
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
