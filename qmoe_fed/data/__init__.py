"""What clients learn from: sources, partitions among clients, and the map to angles."""

from qmoe_fed.data.clients import Shape, fit_projection, load_clients, shape_of
from qmoe_fed.data.preprocessing import Projection
from qmoe_fed.data.samples import ClientData, Samples

__all__ = [
    "ClientData",
    "Projection",
    "Samples",
    "Shape",
    "fit_projection",
    "load_clients",
    "shape_of",
]
