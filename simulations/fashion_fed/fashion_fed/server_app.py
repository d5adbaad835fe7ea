"""The server: waits for the hosts, runs the rounds, writes the results."""

from qmoe_fed.federated import server_app
from strategies import from_config

app = server_app(from_config)
