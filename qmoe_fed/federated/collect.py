"""Asks the hosts about many clients and puts the answers into one table, in client order."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from flwr.app import ArrayRecord, Message, MetricRecord
from flwr.serverapp import Grid
from flwr.supercore import log
from torch import Tensor

from qmoe_fed.federated.hosts import Hosts
from qmoe_fed.federated.records import CLIENT, METRICS, clients_of, cohort_messages, metrics_of

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

    A host that does not answer, or answers with an error or something else than was asked, is
    left out, and the log says why.

    Args:
        grid: The grid.
        hosts: Who hosts whom.
        clients: Ids of the clients to ask about.
        arrays: Shared parameters.
        message_type: Type of the message, e.g. ``evaluate``.
        timeout: Seconds to wait for all answers.

    Raises:
        RuntimeError: No host gave an answer that can be used.
    """
    messages = cohort_messages(hosts, clients, arrays, {}, message_type)
    replies = list(grid.send_and_receive(messages, timeout=timeout))
    asked = {message.metadata.dst_node_id: clients_of(message) for message in messages}
    tables: list[dict[str, Any]] = []
    for reply in replies:
        if fault := _fault(reply, asked[reply.metadata.src_node_id], tables):
            log(WARNING, "%s: a host was left out: %s", message_type, fault)
        else:
            tables.append(metrics_of(reply))
    if len(replies) < len(messages):
        missing = len(messages) - len(replies)
        log(WARNING, "%s: %d hosts did not answer in %g s", message_type, missing, timeout)
    if not tables:
        raise RuntimeError(f"{message_type}: no host gave an answer to use; the log says why")
    columns = {
        key: torch.cat([torch.tensor(table[key], dtype=torch.float64) for table in tables])
        for key in tables[0]
    }
    ids, order = columns.pop(CLIENT).long().sort()
    return ClientTable(ids, {key: values[order] for key, values in columns.items()})


def _fault(reply: Message, clients: list[int], others: list[dict[str, Any]]) -> str:
    """Return why a reply cannot stand beside the tables of others; empty if it can."""
    if reply.has_error():
        return reply.error.reason or "no reason given"
    metrics = reply.content.get(METRICS)
    if not isinstance(metrics, MetricRecord):
        return f"its reply lacks the record {METRICS!r}"
    if metrics.get(CLIENT) != clients:
        return "its reply is about other clients than it was asked about"
    for name, values in metrics.items():
        if not isinstance(values, list) or len(values) != len(clients):
            return f"metric {name!r} is not a list with one entry per client"
    if others and metrics.keys() != others[0].keys():
        return f"its reply has the metrics {sorted(metrics)}, others {sorted(others[0])}"
    return ""
