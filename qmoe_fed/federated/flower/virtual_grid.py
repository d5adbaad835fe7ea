"""Shows a strategy that sends one message per client a node for every client.

Any strategy of Flower's works through it unchanged: it sees N nodes, each of which returns its own
version of the shared parameters. Behind it the messages are packed, one per host, as everywhere
else.
"""

import random

import numpy as np
from flwr.app import Array, ArrayRecord, Error, Message, MetricRecord, RecordDict
from flwr.serverapp import Grid

from qmoe_fed import rng
from qmoe_fed.federated.flower.grid import DirectGrid
from qmoe_fed.federated.flower.messages import (
    ARRAYS,
    CLIENT,
    EXAMPLES,
    LOSS,
    METRICS,
    ROUND,
    Hosts,
    arrays_of,
    clients_of,
    cohort_messages,
    metrics_of,
)

FIRST = 1  # Flower takes node id 0 for no node


class VirtualGrid(DirectGrid):
    """A grid of one virtual node per client, on top of a grid of hosts, for one round.

    Flower's strategies sample nodes with Python's global generator, which is therefore seeded, from
    seed and round, whenever they ask which nodes there are.
    """

    def __init__(
        self, grid: Grid, hosts: Hosts, num_clients: int, seed: int, server_round: int
    ) -> None:
        super().__init__()
        self.grid, self.hosts, self.num_clients = grid, hosts, num_clients
        self.seed, self.round = seed, server_round

    def get_node_ids(self) -> list[int]:
        random.seed(int(rng.generator(self.seed, "flower", 0, self.round).integers(2**32)))
        return list(range(FIRST, FIRST + self.num_clients))

    def deliver(self, messages: list[Message], timeout: float | None) -> list[Message]:
        """Pack messages by host, send them, and unpack the replies client by client."""
        groups: dict[int, dict[int, Message]] = {}
        for message in messages:  # clients that are sent the same content share a packed message
            client = message.metadata.dst_node_id - FIRST
            groups.setdefault(id(message.content), {})[client] = message
        return [reply for group in groups.values() for reply in self._send(group, timeout)]

    def _send(self, group: dict[int, Message], timeout: float | None) -> list[Message]:
        first = next(iter(group.values()))
        (arrays,) = first.content.array_records.values()
        (config,) = first.content.config_records.values()
        packed = cohort_messages(
            self.hosts, group, arrays, {ROUND: self.round, **config}, first.metadata.message_type
        )
        sent = {message.metadata.dst_node_id: clients_of(message) for message in packed}
        replies = []
        for reply in self.grid.send_and_receive(packed, timeout=timeout):
            if reply.has_error():
                failure = Error(code=reply.error.code, reason=reply.error.reason)
                clients = sent[reply.metadata.src_node_id]
                replies += [Message(failure, reply_to=group[client]) for client in clients]
            else:
                replies += _unpack(reply, group, arrays)
        return replies


def _unpack(reply: Message, group: dict[int, Message], arrays: ArrayRecord) -> list[Message]:
    """Return one reply per client, with its own version of the shared parameters."""
    updates = {name: array.numpy() for name, array in arrays_of(reply).items()}
    shared = {name: array.numpy() for name, array in arrays.items()}
    metrics = metrics_of(reply)
    unpacked = []
    for row, client in enumerate(metrics[CLIENT]):
        own = {name: Array(np.asarray(shared[name] + updates[name][row])) for name in shared}
        scores = {EXAMPLES: metrics[EXAMPLES][row], LOSS: metrics[LOSS][row]}
        content = RecordDict({ARRAYS: ArrayRecord(own), METRICS: MetricRecord(scores)})
        unpacked.append(Message(content, reply_to=group[client]))
    return unpacked
