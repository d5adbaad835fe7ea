"""The one layout of messages between server and hosts.

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

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from torch import Tensor

from qmoe_fed.federated.flower.hosts import Hosts
from qmoe_fed.federated.updates import ClientTable, Cohort, Layout

ARRAYS, CONFIG, METRICS = "arrays", "config", "metrics"
ROUND, CLIENTS = "server-round", "clients"
CLIENT, EXAMPLES, LOSS = "client", "num-examples", "train-loss"


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
