"""The SuperNodes of a federation: who they are, and which of them hosts which client."""

import time
from collections.abc import Iterable
from dataclasses import dataclass

from flwr.app import ArrayRecord, Message, RecordDict
from flwr.serverapp import Grid

from qmoe_fed.errors import UserError

POLL_SECONDS = 0.1


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


def join_hosts(grid: Grid, setup: ArrayRecord, timeout: float) -> tuple[int, ...]:
    """Wait until every SuperNode of the federation has taken the setup; return their node ids.

    How many there are, only a SuperNode can tell (``num-partitions``).

    Args:
        grid: The grid.
        setup: Sent to every SuperNode once: how inputs become angles.
        timeout: Seconds to wait.

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
            place = reply.content.metric_records["metrics"]
            partition, total = (int(place[k]) for k in ("partition-id", "num-partitions"))  # type: ignore[arg-type]
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
