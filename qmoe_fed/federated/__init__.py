"""Flower clients and server: private experts, a shared router."""

from qmoe_fed.federated.client import client_app
from qmoe_fed.federated.server import server_app

__all__ = ["client_app", "server_app"]
