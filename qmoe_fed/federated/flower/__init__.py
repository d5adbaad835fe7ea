"""Flower as one transport around a federation: apps, strategy, grids."""

from qmoe_fed.federated.flower.client import client_app
from qmoe_fed.federated.flower.server import server_app

__all__ = ["client_app", "server_app"]
