"""The clients: train their own experts and the shared router on their own data."""

from qmoe_fed.federated.flower import client_app

app = client_app()
