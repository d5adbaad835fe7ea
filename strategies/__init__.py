"""What the server does with the clients' updates, and what users extend."""

from strategies.aggregators import TooFewClients, krum, mean, median, trimmed_mean
from strategies.build import from_config
from strategies.central_dp import CentralDP
from strategies.gate import Limits
from strategies.mechanisms import Aggregate, Mechanism, make_mechanisms
from strategies.router_strategy import RouterStrategy
from strategies.server_steps import Adam, Momentum, Plain

__all__ = [
    "Adam",
    "Aggregate",
    "CentralDP",
    "Limits",
    "Mechanism",
    "Momentum",
    "Plain",
    "RouterStrategy",
    "TooFewClients",
    "from_config",
    "krum",
    "make_mechanisms",
    "mean",
    "median",
    "trimmed_mean",
]
