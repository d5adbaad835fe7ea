"""The SuperNodes that host clients, and the one layout of messages to and from them.

Server → host, ``train``:   ``arrays`` the shared parameters, once;
                            ``config`` ``server-round``, ``clients`` (the sampled ids on that host)
                            and whatever the strategy adds.
Host → server, reply:       ``arrays`` the updates (local minus shared), stacked, one row per
                            client, under the same names;
                            ``metrics`` lists with one entry per client: ``client``,
                            ``num-examples``, ``train-loss`` …

Server → host, ``evaluate…``: ``arrays`` and ``clients`` as above; the reply holds lists with one
                            entry per client: accuracy, loss, mean routing weight of each expert.
                            ``evaluate.routing``, once after the last round and never with privacy
                            mechanisms, asks for these means class by class. They tell the server
                            how a client's test samples are spread over the classes.

Nothing else travels: no sample, and no parameter that ``share`` does not name.
"""

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.serverapp import Grid
from torch import Tensor

from qmoe_fed.errors import UserError
from qmoe_fed.federated.updates import ClientTable, Cohort, Layout

POLL_SECONDS = 0.1

ARRAYS, CONFIG, METRICS = "arrays", "config", "metrics"
ROUND, CLIENTS = "server-round", "clients"
PLACE = ("partition-id", "num-partitions")
CLIENT, EXAMPLES, LOSS = "client", "num-examples", "train-loss"


@dataclass
class Hosts:
    """The SuperNodes of a federation; client c lives on the one with partition-id c mod S.

    Attributes:
        nodes: Flower's node id of each partition-id 0 … S-1; empty until all have joined.
    """

    nodes: tuple[int, ...] = ()

    def group(self, clients: Iterable[int]) -> dict[int, list[int]]:
        """Return the clients by node id, in ascending order; nodes without any are left out."""
        groups: dict[int, list[int]] = {}
        for client in sorted(clients):
            groups.setdefault(self.nodes[client % len(self.nodes)], []).append(client)
        return groups


def to_tensors(arrays: ArrayRecord) -> dict[str, Tensor]:
    """Return the arrays of a record as tensors."""
    return {name: torch.from_numpy(array.numpy()) for name, array in arrays.items()}


def to_record(tensors: Mapping[str, Tensor]) -> ArrayRecord:
    """Return tensors as a record; the inverse of ``to_tensors``."""
    return ArrayRecord({name: Array(values.cpu().numpy()) for name, values in tensors.items()})


def arrays_of(message: Message) -> ArrayRecord:
    """Return the arrays a message carries."""
    return message.content.array_records[ARRAYS]


def settings_of(message: Message) -> dict[str, Any]:
    """Return the settings a message carries."""
    return dict(message.content.config_records[CONFIG])


def clients_of(message: Message) -> list[int]:
    """Return the ids of the clients that a message to a host is about."""
    return list(settings_of(message)[CLIENTS])


def metrics_of(message: Message) -> dict[str, Any]:
    """Return the metrics a reply carries."""
    return dict(message.content.metric_records[METRICS])


def cohort_messages(
    hosts: Hosts,
    clients: Iterable[int],
    arrays: ArrayRecord,
    config: Mapping[str, object],
    message_type: str,
) -> list[Message]:
    """Return one message per host that has any of the clients, each with a content of its own."""
    return [
        Message(
            RecordDict(
                {
                    ARRAYS: ArrayRecord(dict(arrays)),
                    CONFIG: ConfigRecord({**config, CLIENTS: ids}),  # type: ignore[dict-item]
                }
            ),
            dst_node_id=node,
            message_type=message_type,
        )
        for node, ids in hosts.group(clients).items()
    ]


def metrics_reply(message: Message, metrics: Mapping[str, Any]) -> Message:
    """Return a reply that carries metrics only."""
    return Message(RecordDict({METRICS: MetricRecord(dict(metrics))}), reply_to=message)


def table_reply(message: Message, table: ClientTable) -> Message:
    """Return a host's reply to an ``evaluate`` message."""
    columns = {name: values.tolist() for name, values in table.columns.items()}
    return metrics_reply(message, {CLIENT: table.clients.tolist(), **columns})


def update_reply(message: Message, cohort: Cohort, layout: Layout) -> Message:
    """Return a host's reply to a ``train`` message."""
    examples = cohort.weights.long().tolist()
    metrics = {CLIENT: list(cohort.clients), EXAMPLES: examples, LOSS: cohort.losses.tolist()}
    reply = metrics_reply(message, metrics)
    reply.content[ARRAYS] = to_record(layout.parameters(cohort.updates))
    return reply


def join_hosts(grid: Grid, setup: ArrayRecord, timeout: float) -> tuple[int, ...]:
    """Wait until every SuperNode of the federation has taken the setup; return their node ids.

    How many there are, only a SuperNode can tell (``num-partitions``). The setup is how inputs
    become angles; the timeout is in seconds.

    Raises:
        UserError: Not all SuperNodes answered in time, or what they say does not fit together.
    """
    deadline = time.monotonic() + timeout
    nodes: dict[int, int] = {}
    expected, trouble = 0, ""
    while not expected or len(nodes) < expected:
        new = [node for node in grid.get_node_ids() if node not in nodes.values()]
        messages = [Message(RecordDict({"setup": setup}), node, "query.join") for node in new]
        remaining = max(deadline - time.monotonic(), POLL_SECONDS)
        for reply in grid.send_and_receive(messages, timeout=remaining) if messages else ():
            if reply.has_error():
                trouble = reply.error.reason or "no reason given"
                continue
            partition, total = (int(metrics_of(reply)[key]) for key in PLACE)
            if not 0 <= partition < total or total != (expected or total):
                raise UserError(
                    f"a SuperNode says it is partition-id {partition} of num-partitions {total}"
                    + (f", another that there are {expected}" if expected else "")
                    + "; give all the same num-partitions, and each its own partition-id from 0 on"
                )
            expected, node = total, reply.metadata.src_node_id
            if nodes.setdefault(partition, node) != node:
                raise UserError(f"two SuperNodes say they are partition-id {partition}")
        if time.monotonic() > deadline:
            raise UserError(_explain(len(nodes), expected, timeout, trouble))
        if len(nodes) < max(expected, 1):
            time.sleep(POLL_SECONDS)
    return tuple(nodes[i] for i in range(expected))


def _explain(found: int, expected: int, timeout: float, trouble: str) -> str:
    if trouble:
        return f"a SuperNode could not join: {trouble}"
    return (
        f"{found} of {expected or 'the'} SuperNodes answered within supernode-timeout = "
        f"{timeout:g} s. In a simulation, type: flwr run APP --federation-config "
        f'"num-supernodes={expected or 2} client-resources-num-cpus=1"; in a deployment, start one '
        'flower-supernode per partition-id with --node-config "partition-id=0 num-partitions=2"'
    )
