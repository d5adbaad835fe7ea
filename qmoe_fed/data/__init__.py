"""What clients learn from: sources, partitions among clients, and the map to angles."""

from qmoe_fed.data.clients import Shape, are_apart, example, fit_projection, load_clients, shape_of
from qmoe_fed.data.own import settle
from qmoe_fed.data.pools import load_pool, load_test
from qmoe_fed.data.preprocessing import RAW, Projection, not_raw
from qmoe_fed.data.samples import ClientData, Samples
from qmoe_fed.data.table import Table

__all__ = [
    "RAW",
    "ClientData",
    "Projection",
    "Samples",
    "Shape",
    "Table",
    "are_apart",
    "example",
    "fit_projection",
    "load_clients",
    "load_pool",
    "load_test",
    "not_raw",
    "settle",
    "shape_of",
]
