"""The one layout of the messages between server and hosts: how they are made, and read again.

Server → host, ``train``:   ``arrays`` the shared parameters, once;
                            ``config`` ``server-round``, ``clients`` (the sampled ids on that host)
                            and whatever the strategy adds.
Host → server, reply:       ``arrays`` the updates (local minus shared), stacked, one row per
                            client, under the same names;
                            ``metrics`` lists with one entry per client: ``client``,
                            ``num-examples``, ``train-loss`` …

Server → host, ``evaluate…``: all as above; the reply holds lists with one
                            entry per client: accuracy, loss, mean routing weight of each expert.
                            ``evaluate.routing``, once after the last round and never with privacy
                            mechanisms, asks for these means class by class. They tell the server
                            how a client's test samples are spread over the classes.

Where a mechanism hides rows, replies are what ``phases`` says, without updates and metrics.

Nothing else travels: no sample, and no parameter that ``share`` does not name.

What cannot be read is left out, with a reason: a fault costs the client its part in the round,
never the round of the others; what is wrong with a reply as a whole costs all clients of that host
theirs.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.serverapp import Grid
from numpy.typing import NDArray
from torch import Tensor

from qmoe_fed.federated.updates import Cohort, Layout, Rejection

ARRAYS, CONFIG, METRICS = "arrays", "config", "metrics"
ROUND, CLIENTS = "server-round", "clients"
PLACE = ("partition-id", "num-partitions")
CLIENT, EXAMPLES, LOSS = "client", "num-examples", "train-loss"
OWN = "own-"  # how the names of metrics begin that a user's ClientApp adds
ROUNDING = 1e-3  # of float32 sums, at most

MAX_REASON = 300  # characters


class Unusable(Exception):
    """A reply as a whole cannot be used."""


@dataclass
class Hosts:
    """The SuperNodes of a federation; client c lives on the one with partition-id c mod S."""

    nodes: tuple[int, ...] = ()  # Flower's id of partition-id 0 … S-1; empty until all have joined
    timeout: float | None = None  # seconds to wait for them in a phase of a hidden sum

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


def cohort_messages(
    asked: Mapping[int, Sequence[int]],
    arrays: ArrayRecord,
    config: Mapping[str, object],
    message_type: str,
) -> list[Message]:
    """Return a message, with a content of its own, to each node about the clients it hosts."""
    messages = []
    for node, clients in asked.items():
        settings = ConfigRecord({**config, CLIENTS: list(clients)})  # type: ignore[dict-item]
        content = RecordDict({ARRAYS: ArrayRecord(dict(arrays)), CONFIG: settings})
        messages.append(Message(content, dst_node_id=node, message_type=message_type))
    return messages


def send(grid: Grid, messages: Iterable[Message], timeout: float | None) -> list[Message]:
    """Return the replies to messages; what Flower says of a node that is gone is that node's.

    The SuperLink answers for it, under an id of its own.
    """
    messages = list(messages)
    replies = list(grid.send_and_receive(messages, timeout=timeout))
    sent = {message.metadata.message_id: message for message in messages}
    nodes = {message.metadata.dst_node_id for message in messages}
    for i, reply in enumerate(replies):
        about = sent.get(reply.metadata.reply_to_message_id)
        if about and reply.has_error() and reply.metadata.src_node_id not in nodes:
            replies[i] = Message(reply.error, reply_to=about)
    return replies


def read_scores(
    reply: Message, asked: Sequence[int], most: Mapping[str, float]
) -> tuple[dict[str, Tensor], list[Rejection]]:
    """Return metrics of the clients a host was asked about, ``(k,)`` float64, and who is left out.

    A client with a metric that is not in [0, most] is left out. A ClientApp's own metrics pass as
    they are if their names begin with ``own-``, all others are ignored. Raises Unusable.
    """
    metrics = _content(reply).get(METRICS)
    if not isinstance(metrics, MetricRecord):
        raise Unusable(f"the reply lacks the record {METRICS!r}")
    if metrics.get(CLIENT) != list(asked):
        raise Unusable("the reply is about other clients than its host was asked about")
    names = [*most, *(name for name in metrics if name.startswith(OWN))]
    columns = {name: torch.from_numpy(_column(metrics, name, len(asked))) for name in names}
    good, faults = torch.ones(len(asked), dtype=torch.bool), list[Rejection]()
    for name, high in most.items():
        values = columns[name]
        inside = (values >= 0) & (values <= high * (1 + ROUNDING))
        for row in (good & ~inside).nonzero().flatten().tolist():
            reason = f"{name} is {values[row]:g}, not in [0, {high:g}]"
            faults.append(Rejection(asked[row], reason))
        good &= inside
    ids = torch.tensor(asked, dtype=torch.float64)
    return {name: v[good] for name, v in {CLIENT: ids, **columns}.items()}, faults


def read_replies(
    replies: Iterable[Message], asked: Mapping[int, Sequence[int]], layout: Layout
) -> tuple[Cohort, list[Rejection]]:
    """Return the rows of all readable replies, in any order, and the clients without one.

    ``asked`` are the clients that were to train, by the id of the node that hosts them: a host can
    speak for no others.
    """
    answers: dict[int, list[Message]] = {node: [] for node in asked}
    for reply in replies:
        answers.setdefault(reply.metadata.src_node_id, []).append(reply)
    parts, rejections = [], list[Rejection]()
    for node, messages in answers.items():
        clients = asked.get(node, ())
        try:
            sent, faults = _sort_out(_rows(messages, layout), clients)
            parts.append(sent)
        except Unusable as fault:
            faults = [Rejection(client, one_line(str(fault))) for client in clients]
        rejections += faults
    return Cohort.join(parts) if parts else Cohort.of_nobody(layout.size), rejections


def one_line(reason: str) -> str:
    """Return as a line of the log what may quote a host, however much that sent."""
    return " ".join(reason.split())[:MAX_REASON]


def _rows(messages: Sequence[Message], layout: Layout) -> Cohort:
    """Return what a host sent, in its order, whosoever it is."""
    if not messages:
        raise Unusable("its host did not answer in time")
    if len(messages) > 1:
        raise Unusable(f"its host answered {len(messages)} times")
    content = _content(messages[0])
    arrays, metrics = content.get(ARRAYS), content.get(METRICS)
    if not isinstance(arrays, ArrayRecord) or not isinstance(metrics, MetricRecord):
        raise Unusable(f"the reply lacks the record {ARRAYS!r} or {METRICS!r}")
    if arrays.keys() != layout.shapes.keys():
        names = sorted(layout.names)
        raise Unusable(f"the reply has the parameters {sorted(arrays)}, expected {names}")
    ids = _column(metrics, CLIENT, None, np.int64)
    numbers = [torch.from_numpy(_column(metrics, name, len(ids))) for name in (EXAMPLES, LOSS)]
    updates = [_array(arrays[name], name, len(ids), shape) for name, shape in layout.shapes.items()]
    matrix = np.concatenate([np.zeros((len(ids), 0)), *updates], axis=1)
    return Cohort(tuple(ids.tolist()), torch.from_numpy(matrix), *numbers)


def _sort_out(sent: Cohort, asked: Sequence[int]) -> tuple[Cohort, list[Rejection]]:
    """Return the rows that belong to exactly one asked client, and the faults of the others."""
    if sent.clients == tuple(asked):
        return sent, []
    rows, expected = Counter(sent.clients), set(asked)
    keep = torch.tensor([c in expected and rows[c] == 1 for c in sent.clients], dtype=torch.bool)
    faults = dict.fromkeys(rows.keys() - expected, "was not asked to train on that host")
    for client in expected:
        if rows[client] > 1:
            faults[client] = f"has {rows[client]} rows in the reply of its host"
        elif not rows[client]:
            faults[client] = "is missing from the reply of its host"
    return sent.select(keep), [Rejection(*fault) for fault in faults.items()]


def _content(reply: Message) -> RecordDict:
    if reply.has_error():
        raise Unusable(f"its host failed: {reply.error.reason or reply.error.code}")
    return reply.content if reply.has_content() else RecordDict()


def _column(
    metrics: MetricRecord, name: str, count: int | None, dtype: type[np.number] = np.float64
) -> NDArray:
    values = metrics.get(name)
    if not isinstance(values, list):
        raise Unusable(f"metric {name!r} is not a list with one entry per client: {values!r}")
    if count is not None and len(values) != count:
        raise Unusable(f"metric {name!r} has {len(values)} entries for {count} clients")
    if values and dtype is np.int64 and not isinstance(values[0], int):
        raise Unusable(f"metric {name!r} holds {values[0]!r}, expected whole numbers")
    try:
        return np.asarray(values, dtype=dtype)
    except OverflowError as error:
        raise Unusable(f"metric {name!r}: {error}") from error


def _array(array: Array, name: str, count: int, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Return the updates of one parameter, ``(count, size)``."""
    try:
        values = array.numpy()
        if not isinstance(values, np.ndarray):
            raise TypeError(f"the bytes are {type(values).__name__}, not an array")
    except Exception as error:  # Foreign bytes: a parser may raise anything.
        raise Unusable(f"parameter {name!r} cannot be read: {error}") from error
    if values.shape != (count, *shape):
        raise Unusable(f"update of {name!r} has shape {values.shape}, expected {(count, *shape)}")
    if values.dtype not in (np.float32, np.float64):
        raise Unusable(f"update of {name!r} is {values.dtype}, expected float32 or float64")
    return values.astype(np.float64).reshape(count, math.prod(shape))
