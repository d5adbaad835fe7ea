"""From the replies of hosts to a cohort: what cannot be read is named and left out.

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


class _Unusable(Exception):
    """A reply as a whole cannot be used."""


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
        except _Unusable as fault:
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
        raise _Unusable("its host did not answer in time")
    if len(messages) > 1:
        raise _Unusable(f"its host answered {len(messages)} times")
    reply = messages[0]
    if reply.has_error():
        raise _Unusable(f"its host failed: {reply.error.reason or reply.error.code}")
    content = reply.content if reply.has_content() else RecordDict()
    arrays, metrics = content.get(ARRAYS), content.get(METRICS)
    if not isinstance(arrays, ArrayRecord) or not isinstance(metrics, MetricRecord):
        raise _Unusable(f"the reply lacks the record {ARRAYS!r} or {METRICS!r}")
    if arrays.keys() != layout.shapes.keys():
        names = sorted(layout.names)
        raise _Unusable(f"the reply has the parameters {sorted(arrays)}, expected {names}")
    ids = _column(metrics, CLIENT, np.int64)
    numbers = [_column(metrics, name, np.float64) for name in (EXAMPLES, LOSS)]
    for name, column in zip((EXAMPLES, LOSS), numbers, strict=True):
        if len(column) != len(ids):
            raise _Unusable(f"metric {name!r} has {len(column)} entries for {len(ids)} clients")
    updates = [_array(arrays[name], name, len(ids), shape) for name, shape in layout.shapes.items()]
    table = np.concatenate([np.stack(numbers, axis=1), *updates], axis=1)
    return ids, torch.from_numpy(table)


def _column(metrics: MetricRecord, name: str, dtype: type[np.number]) -> NDArray:
    values = metrics.get(name)
    if not isinstance(values, list):
        raise _Unusable(f"metric {name!r} is not a list with one entry per client: {values!r}")
    if values and dtype is np.int64 and not isinstance(values[0], int):
        raise _Unusable(f"metric {name!r} holds {values[0]!r}, expected whole numbers")
    try:
        return np.asarray(values, dtype=dtype)
    except OverflowError as error:
        raise _Unusable(f"metric {name!r}: {error}") from error


def _array(array: Array, name: str, count: int, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Return the updates of one parameter, ``(count, size)``."""
    try:
        values = array.numpy()
        if not isinstance(values, np.ndarray):
            raise TypeError(f"the bytes are {type(values).__name__}, not an array")
    except Exception as error:  # Foreign bytes: a parser may raise anything.
        raise _Unusable(f"parameter {name!r} cannot be read: {error}") from error
    if values.shape != (count, *shape):
        raise _Unusable(f"update of {name!r} has shape {values.shape}, expected {(count, *shape)}")
    if values.dtype not in (np.float32, np.float64):
        raise _Unusable(f"update of {name!r} is {values.dtype}, expected float32 or float64")
    return values.astype(np.float64).reshape(count, math.prod(shape))


def _check_ids(
    ids: NDArray[np.int64], asked: Sequence[int]
) -> tuple[NDArray[np.bool_], list[Rejection]]:
    """Return which rows belong to exactly one asked client, and the faults of the others."""
    found, position, counts = np.unique(ids, return_inverse=True, return_counts=True)
    wanted = np.isin(found, np.asarray(asked, dtype=np.int64))
    rejections = [
        *(Rejection(c, "was not asked to train on that host") for c in found[~wanted].tolist()),
        *(
            Rejection(int(found[row]), f"has {counts[row]} rows in the reply of its host")
            for row in np.flatnonzero(wanted & (counts > 1))
        ),
        *(
            Rejection(c, "is missing from the reply of its host")
            for c in np.setdiff1d(np.asarray(asked, dtype=np.int64), found).tolist()
        ),
    ]
    return (wanted & (counts == 1))[position], rejections


def _cohort(parts: Sequence[tuple[NDArray[np.int64], Tensor]], size: int) -> Cohort:
    if not parts:
        return Cohort.of_nobody(size)
    ids = np.concatenate([ids for ids, _ in parts])
    order = np.argsort(ids)
    table = torch.cat([table for _, table in parts])[torch.from_numpy(order)]
    return Cohort(tuple(ids[order].tolist()), table[:, 2:], table[:, 0], table[:, 1])
