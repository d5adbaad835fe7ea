"""How the server learns who is there."""

import time

from flwr.app import ArrayRecord, Message, RecordDict
from flwr.serverapp import Grid

from qmoe_fed.errors import UserError
from qmoe_fed.federated.hosts import Hosts
from qmoe_fed.federated.records import metrics_of

POLL_SECONDS = 0.1


def join_hosts(grid: Grid, setup: ArrayRecord, timeout: float) -> Hosts:
    """Wait until every SuperNode of the federation has taken the setup.

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
            place = metrics_of(reply)
            partition, total = int(place["partition-id"]), int(place["num-partitions"])
            if not 0 <= partition < total or total != (expected or total):
                raise UserError(
                    f"a SuperNode says it is partition-id {partition} of num-partitions {total}"
                    + (f", another that there are {expected}" if expected else "")
                    + "; give all the same num-partitions, and each its own partition-id from 0 on"
                )
            expected = total
            if (
                nodes.setdefault(partition, reply.metadata.src_node_id)
                != reply.metadata.src_node_id
            ):
                raise UserError(f"two SuperNodes say they are partition-id {partition}")
        if time.monotonic() > deadline:
            raise UserError(_explain(len(nodes), expected, timeout, trouble))
        if len(nodes) < max(expected, 1):
            time.sleep(POLL_SECONDS)
    return Hosts(tuple(nodes[i] for i in range(expected)))


def _explain(found: int, expected: int, timeout: float, trouble: str) -> str:
    if trouble:
        return f"a SuperNode could not join: {trouble}"
    return (
        f"{found} of {expected or 'the'} SuperNodes answered within supernode-timeout = "
        f"{timeout:g} s. In a simulation, type: flwr run APP --federation-config "
        f'"num-supernodes={expected or 2} client-resources-num-cpus=1"; in a deployment, start one '
        'flower-supernode per partition-id with --node-config "partition-id=0 num-partitions=2"'
    )
