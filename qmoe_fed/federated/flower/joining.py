"""SuperNodes join: each says which partition it is, until all are there."""

import time
from typing import Any

from flwr.app import Message, RecordDict
from flwr.serverapp import Grid

from qmoe_fed.errors import UserError
from qmoe_fed.federated.flower import messages as wire

POLL_SECONDS = 0.1


def fault_of(reply: Message | None) -> str:
    """Return why a host did not do what it was told, or nothing."""
    if reply is None:
        return "its host did not answer in time"
    return wire.one_line(reply.error.reason or "no reason given") if reply.has_error() else ""


def place_of(reply: Message) -> tuple[int, int]:
    """Return the partition-id of a host and how many there are; (0, 0) if it does not say."""
    try:
        place: dict[str, Any] = dict(reply.content.metric_records[wire.METRICS])
        partition, total = (int(place[key]) for key in wire.PLACE)
    except (KeyError, TypeError, ValueError, OverflowError):  # an error has no content
        return 0, 0
    return partition, total


def join(grid: Grid, setup: RecordDict, timeout: float) -> tuple[int, ...]:
    """Return the nodes of all SuperNodes; only one of them can tell how many (num-partitions).

    Raises:
        UserError: One refuses, they contradict each other, or some are missing after the timeout
            in seconds.
    """
    deadline = time.monotonic() + timeout
    nodes: dict[int, int] = {}
    expected, trouble = 0, ""
    while not expected or len(nodes) < expected:
        new = [node for node in grid.get_node_ids() if node not in nodes.values()]
        messages = [Message(RecordDict(dict(setup)), node, "query.join") for node in new]
        remaining = max(deadline - time.monotonic(), POLL_SECONDS)
        for reply in grid.send_and_receive(messages, timeout=remaining) if messages else ():
            if reply.has_error():
                trouble = fault_of(reply)
                if UserError.__name__ in trouble:  # it would say so again
                    raise UserError(_explain(len(nodes), expected, timeout, trouble))
                continue
            partition, total = place_of(reply)
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
