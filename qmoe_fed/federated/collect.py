"""Asks the hosts about many clients and puts the answers into one table, in client order."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from flwr.app import ArrayRecord
from flwr.serverapp import Grid
from flwr.supercore import log
from torch import Tensor

from qmoe_fed.federated.hosts import Hosts
from qmoe_fed.federated.records import CLIENT, cohort_messages, metrics_of

WARNING = 30


@dataclass(frozen=True)
class ClientTable:
    """Metrics of clients, one row each, in ascending order of their ids.

    Attributes:
        clients: Ids of the clients that answered, ``(k,)``.
        columns: Values by metric, ``(k,)`` float64 each.
    """

    clients: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.long))
    columns: dict[str, Tensor] = field(default_factory=dict)


def ask_clients(
    grid: Grid,
    hosts: Hosts,
    clients: Sequence[int],
    arrays: ArrayRecord,
    message_type: str,
    timeout: float,
) -> ClientTable:
    """Send the shared parameters to the hosts of some clients and collect the clients' metrics.

    A host that does not answer, or answers with an error, is named in the log and left out.

    Args:
        grid: The grid.
        hosts: Who hosts whom.
        clients: Ids of the clients to ask about.
        arrays: Shared parameters.
        message_type: Type of the message, e.g. ``evaluate``.
        timeout: Seconds to wait for all answers.

    Raises:
        RuntimeError: No host answered.
    """
    messages = cohort_messages(hosts, clients, arrays, {}, message_type)
    replies = list(grid.send_and_receive(messages, timeout=timeout))
    tables = [metrics_of(reply) for reply in replies if not reply.has_error()]
    for reply in replies:
        if reply.has_error():
            log(WARNING, "%s: a host failed: %s", message_type, reply.error.reason)
    if len(replies) < len(messages):
        missing = len(messages) - len(replies)
        log(WARNING, "%s: %d hosts did not answer in %g s", message_type, missing, timeout)
    if not tables:
        raise RuntimeError(f"{message_type}: no host answered; the log says why")
    columns = {
        key: torch.cat([torch.tensor(table[key], dtype=torch.float64) for table in tables])
        for key in tables[0]
    }
    ids, order = columns.pop(CLIENT).long().sort()
    return ClientTable(ids, {key: values[order] for key, values in columns.items()})
