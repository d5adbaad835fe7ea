"""The server: waits for the hosts, runs the rounds, writes the results."""

from qmoe_fed.federated.flower import server_app

app = server_app()
