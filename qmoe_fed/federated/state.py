"""A run under way: who takes part, and how far it has come."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from flwr.app import ArrayRecord, ConfigRecord, Message, RecordDict
from flwr.serverapp import Grid

from qmoe_fed.config import Config
from qmoe_fed.federated.collect import ClientTable, ask_clients
from qmoe_fed.federated.host import Model
from qmoe_fed.federated.hosts import Hosts
from qmoe_fed.federated.records import CONFIG
from qmoe_fed.results.run_directory import RunDirectory


@dataclass(frozen=True)
class Federation:
    """A run under way: who takes part, what they train, and where it is written down."""

    grid: Grid
    config: Config
    model: Model
    hosts: Hosts
    directory: RunDirectory

    def ask(self, clients: range, arrays: ArrayRecord, message_type: str) -> ClientTable:
        """Collect metrics of clients, given the shared parameters."""
        timeout = self.config.federation.round_timeout
        return ask_clients(self.grid, self.hosts, clients, arrays, message_type, timeout)

    def tell(self, message_type: str, settings: Mapping[str, Any]) -> str:
        """Have every host do something; return why one of them did not, or nothing."""
        messages = [
            Message(RecordDict({CONFIG: ConfigRecord(dict(settings))}), node, message_type)
            for node in self.hosts.nodes
        ]
        timeout = self.config.federation.round_timeout
        replies = list(self.grid.send_and_receive(messages, timeout=timeout))
        for reply in replies:
            if reply.has_error():
                return reply.error.reason or "no reason given"
        missing = len(messages) - len(replies)
        return f"{missing} hosts did not answer in {timeout:g} s" if missing else ""


@dataclass
class RunState:
    """How far the rounds have come.

    Attributes:
        arrays: Shared parameters now.
        rounds: Rounds run.
        counted: Rounds whose updates were aggregated.
        status: ``completed``, or ``stopped`` when a privacy budget ended the run early.
        reason: Why it was stopped.
        table: Scores of all clients after the last scored round.
        record: What is written down of the last round, besides its scores; ``train`` is what the
            strategy reported.
        started: ``time.monotonic()`` at the start, less what it took to come to a checkpoint.
    """

    arrays: ArrayRecord
    rounds: int = 0
    counted: int = 0
    status: str = "completed"
    reason: str = ""
    table: ClientTable = field(default_factory=ClientTable)
    record: dict[str, Any] = field(default_factory=lambda: {"round": 0})
    started: float = field(default_factory=time.monotonic)

    def write_shared(self, directory: RunDirectory) -> None:
        """Write the shared parameters down."""
        shared = {name: array.numpy() for name, array in self.arrays.items()}
        directory.write_arrays("shared.safetensors", shared)
