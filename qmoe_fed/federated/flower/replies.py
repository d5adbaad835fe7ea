"""From the replies of hosts to rows of clients: what cannot be read is named and left out.

A fault costs the client its part in the round, never the round of the others, and it has a
reason. What is wrong with a reply as a whole costs all clients of that host theirs.
"""

import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import torch
from flwr.app import Array, ArrayRecord, Message, MetricRecord, RecordDict
from numpy.typing import NDArray
from torch import Tensor

from qmoe_fed.federated.flower.messages import ARRAYS, CLIENT, EXAMPLES, LOSS, METRICS
from qmoe_fed.federated.updates import Cohort, Layout, Rejection

MAX_REASON = 300  # characters


class Unusable(Exception):
    """A reply as a whole cannot be used."""


def read_scores(reply: Message, asked: Sequence[int]) -> dict[str, Tensor]:
    """Return the metrics of the clients a host was asked about, ``(k,)`` float64 each.

    Raises:
        Unusable: It did not answer that.
    """
    metrics = _content(reply).get(METRICS)
    if not isinstance(metrics, MetricRecord):
        raise Unusable(f"the reply lacks the record {METRICS!r}")
    if metrics.get(CLIENT) != list(asked):
        raise Unusable("the reply is about other clients than its host was asked about")
    return {name: torch.from_numpy(_column(metrics, name, len(asked))) for name in metrics}


def read_replies(
    replies: Iterable[Message], asked: Mapping[int, Sequence[int]], layout: Layout
) -> tuple[Cohort, list[Rejection]]:
    """Return the rows of all readable replies, and the clients without one.

    Args:
        replies: What came back, in any order.
        asked: Clients that were asked to train, by the id of the node that hosts them. A host can
            speak for no others.
        layout: Shapes of the shared parameters.
    """
    answers: dict[int, list[Message]] = {node: [] for node in asked}
    for reply in replies:
        answers.setdefault(reply.metadata.src_node_id, []).append(reply)
    parts, rejections = [], []
    for node, messages in answers.items():
        clients = asked.get(node, ())
        try:
            ids, table = _rows(messages, layout)
        except Unusable as fault:
            # It may quote what the host sent: one line of the log, however long that is.
            reason = " ".join(str(fault).split())[:MAX_REASON]
            rejections += [Rejection(client, reason) for client in clients]
            continue
        keep, faults = _check_ids(ids, clients)
        parts.append((ids[keep], table[torch.from_numpy(keep)]))
        rejections += faults
    return _cohort(parts, layout.size), rejections


def _rows(messages: Sequence[Message], layout: Layout) -> tuple[NDArray[np.int64], Tensor]:
    """Return client ids ``(k,)``, and weight, loss and update of each, ``(k, 2 + P)``."""
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
    numbers = [_column(metrics, name, len(ids)) for name in (EXAMPLES, LOSS)]
    updates = [_array(arrays[name], name, len(ids), shape) for name, shape in layout.shapes.items()]
    table = np.concatenate([np.stack(numbers, axis=1), *updates], axis=1)
    return ids, torch.from_numpy(table)


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


def _check_ids(
    ids: NDArray[np.int64], asked: Sequence[int]
) -> tuple[NDArray[np.bool_], list[Rejection]]:
    """Return which rows belong to exactly one asked client, and the faults of the others."""
    expected = np.asarray(asked, dtype=np.int64)
    found, position, counts = np.unique(ids, return_inverse=True, return_counts=True)
    wanted = np.isin(found, expected)
    faults = [
        *((c, "was not asked to train on that host") for c in found[~wanted]),
        *(
            (found[row], f"has {counts[row]} rows in the reply of its host")
            for row in np.flatnonzero(wanted & (counts > 1))
        ),
        *((c, "is missing from the reply of its host") for c in np.setdiff1d(expected, found)),
    ]
    rejections = [Rejection(int(client), reason) for client, reason in faults]
    return (wanted & (counts == 1))[position], rejections


def _cohort(parts: Sequence[tuple[NDArray[np.int64], Tensor]], size: int) -> Cohort:
    if not parts:
        return Cohort.of_nobody(size)
    ids = np.concatenate([ids for ids, _ in parts])
    order = np.argsort(ids)
    table = torch.cat([table for _, table in parts])[torch.from_numpy(order)]
    return Cohort(tuple(ids[order].tolist()), table[:, 2:], table[:, 0], table[:, 1])
