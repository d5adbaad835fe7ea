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

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import compress
from typing import Any

import numpy as np
import torch
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from torch import Tensor

from qmoe_fed.federated.hosts import Hosts

ARRAYS, CONFIG, METRICS = "arrays", "config", "metrics"
ROUND, CLIENTS = "server-round", "clients"
CLIENT, EXAMPLES, LOSS = "client", "num-examples", "train-loss"

Layout = Mapping[str, tuple[int, ...]]
"""Shape of each shared parameter, in the order in which they are laid out in a vector."""


@dataclass(frozen=True)
class Rejection:
    """A client whose reply does not count, and why."""

    client: int
    reason: str


@dataclass(frozen=True)
class Cohort:
    """What came back from one round of training, one row per client, in client order.

    Attributes:
        clients: Client ids, ascending.
        updates: Shape ``(C, P)``, float64: local minus shared parameters.
        weights: Shape ``(C,)``, float64.
        losses: Shape ``(C,)``, float64: mean training loss of the round.
    """

    clients: tuple[int, ...]
    updates: Tensor
    weights: Tensor
    losses: Tensor

    def select(self, keep: Sequence[bool]) -> "Cohort":
        """Return the cohort of the clients marked True."""
        mask = torch.tensor(list(keep), dtype=torch.bool)
        clients = tuple(compress(self.clients, keep))
        return Cohort(clients, self.updates[mask], self.weights[mask], self.losses[mask])


def layout_of(arrays: ArrayRecord) -> Layout:
    """Return the shapes of the parameters in a record."""
    return {name: tuple(array.shape) for name, array in arrays.items()}


def to_vector(arrays: ArrayRecord) -> Tensor:
    """Return all parameters of a record as one float64 vector ``(P,)``."""
    parts = [torch.from_numpy(a.numpy()).double().reshape(-1) for a in arrays.values()]
    return torch.cat(parts) if parts else torch.zeros(0, dtype=torch.float64)


def to_arrays(vector: Tensor, layout: Layout) -> ArrayRecord:
    """Return a vector ``(P,)`` as a float32 record of the given layout."""
    sizes = [int(np.prod(shape)) for shape in layout.values()]
    parts = vector.float().split(sizes)
    return ArrayRecord(
        {
            name: Array(part.reshape(shape).numpy())
            for (name, shape), part in zip(layout.items(), parts, strict=True)
        }
    )


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


def metrics_reply(message: Message, metrics: Mapping[str, Any]) -> Message:
    """Return a reply that carries metrics only."""
    return Message(RecordDict({METRICS: MetricRecord(dict(metrics))}), reply_to=message)


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


def update_reply(
    message: Message, updates: Mapping[str, Tensor], metrics: Mapping[str, Any]
) -> Message:
    """Return a host's reply to a train message; updates are stacked ``(k, *shape)``."""
    reply = metrics_reply(message, metrics)
    reply.content[ARRAYS] = to_record(updates)
    return reply
