"""Rounds without clients: replies built by hand to the messages of a strategy."""

from collections.abc import Callable, Iterable

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict

from qmoe_fed import rng
from qmoe_fed.federated.flower.messages import (
    ARRAYS,
    CLIENT,
    CLIENTS,
    CONFIG,
    EXAMPLES,
    LOSS,
    METRICS,
    Hosts,
)
from strategies import RouterStrategy

LAYOUT = {"theta": (2, 2), "bias": (3,)}
SIZE = 7
GRID = None  # strategies do not use the grid

Edit = Callable[[dict[str, np.ndarray], dict[str, list]], object]


def make_strategy(num_clients: int = 6, num_hosts: int = 6, **parts) -> RouterStrategy:
    return RouterStrategy(Hosts(tuple(range(100, 100 + num_hosts))), num_clients, **parts)


def shared(value: float = 0.0, layout=LAYOUT) -> ArrayRecord:
    return ArrayRecord({n: Array(np.full(s, value, np.float32)) for n, s in layout.items()})


def vector(arrays: ArrayRecord) -> np.ndarray:
    return np.concatenate([array.numpy().ravel() for array in arrays.values()])


def updates_of(clients: Iterable[int], size: int = SIZE) -> np.ndarray:
    """Return updates ``(k, size)``; a client's own does not depend on the others."""
    return rng.normal(0, "updates", list(clients), (size,)).astype(np.float32)


def examples_of(clients: Iterable[int]) -> list[int]:
    return [10 + client for client in clients]


def unchanged(arrays, metrics) -> None:
    """Leave a reply as an honest host sends it."""


def reply(message: Message, edit: Edit = unchanged, layout=LAYOUT) -> Message:
    """Return an honest host's reply, changed in place by ``edit``."""
    clients = list(message.content[CONFIG][CLIENTS])
    sizes = [int(np.prod(shape)) for shape in layout.values()]
    rows = np.split(updates_of(clients, sum(sizes)), np.cumsum(sizes), axis=1)[:-1]
    arrays = {
        name: part.reshape(len(clients), *shape)
        for (name, shape), part in zip(layout.items(), rows, strict=True)
    }
    losses = [0.5 + client for client in clients]
    metrics = {CLIENT: clients, EXAMPLES: examples_of(clients), LOSS: losses}
    edit(arrays, metrics)
    record = ArrayRecord({name: Array(values) for name, values in arrays.items()})
    return Message(RecordDict({ARRAYS: record, METRICS: MetricRecord(metrics)}), reply_to=message)


def ask(strategy: RouterStrategy, server_round: int = 1, arrays: ArrayRecord | None = None):
    arrays = shared() if arrays is None else arrays
    return strategy.configure_train(server_round, arrays, ConfigRecord(), GRID)


def play(strategy: RouterStrategy, edits: dict[int, Edit | None] | None = None, server_round=1):
    """Play a round from zeros; hosts in ``edits`` (by partition-id) answer with a change.

    None stands for no answer at all.
    """
    edits = edits or {}
    answers = [
        (message, edits.get(message.metadata.dst_node_id - 100, unchanged))
        for message in ask(strategy, server_round)
    ]
    replies = [reply(message, edit) for message, edit in answers if edit is not None]
    return strategy.aggregate_train(server_round, replies)
