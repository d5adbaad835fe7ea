"""Carries a run over a Flower grid: to SuperNodes in this process, on Ray, or on other machines."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.serverapp import Grid
from flwr.serverapp import strategy as flower

from qmoe_fed.data import Projection
from qmoe_fed.errors import UserError
from qmoe_fed.federated.federation import Report, State
from qmoe_fed.federated.flower.build import make_strategy
from qmoe_fed.federated.flower.hosts import Hosts, join_hosts
from qmoe_fed.federated.flower.messages import (
    CLIENT,
    CONFIG,
    METRICS,
    ROUND,
    clients_of,
    cohort_messages,
    metrics_of,
    to_record,
    to_tensors,
)
from qmoe_fed.federated.flower.strategy import RouterStrategy
from qmoe_fed.federated.flower.virtual_grid import VirtualGrid
from qmoe_fed.federated.mechanism import Memory
from qmoe_fed.federated.model import Model
from qmoe_fed.federated.updates import ClientTable

STATELESS = (
    flower.Bulyan,
    flower.FedAvg,
    flower.FedMedian,
    flower.FedProx,
    flower.FedTrimmedAvg,
    flower.Krum,
    flower.MultiKrum,
    flower.QFedAvg,
)
"""Flower's strategies that remember nothing from one round to the next."""

logger = logging.getLogger("flwr")


class FlowerTransport:
    """A run whose clients live on the SuperNodes of a grid.

    Args:
        grid: The grid.
        model: The run's model.
        projection: Sent to every host once: how inputs become angles.

    Attributes:
        strategy: The strategy of the run.

    Raises:
        UserError: The strategy cannot be built.
    """

    def __init__(self, grid: Grid, model: Model, projection: Projection) -> None:
        self.config, self.model, self.projection = model.config, model, projection
        self.grid, self._hosts = grid, Hosts()
        self.strategy = make_strategy(self.config, self._hosts, model.angles)

    @property
    def hosts(self) -> int:
        """Number of SuperNodes."""
        return len(self._hosts.nodes)

    def join(self) -> None:
        """Wait until all SuperNodes are there.

        Raises:
            UserError: They are not, in time, or do not fit together.
        """
        setup = {name: Array(values) for name, values in self.projection.to_dict().items()}
        timeout = self.config.federation.supernode_timeout
        self._hosts.nodes = join_hosts(self.grid, ArrayRecord(setup), timeout)

    def init(self) -> State:
        """Return the state before the first round, as far as the server knows it."""
        return State(self.model.initial_shared())

    def round(self, state: State) -> tuple[State, Report]:
        """Run one round; return the state after it and what happened.

        Raises:
            PrivacyBudgetExhausted: A mechanism ends the run before the round.
        """
        number, strategy, ours = state.round + 1, self.strategy, self._ours
        grid, settings = self.grid, self.config.federation
        if not ours:
            clients, seed = settings.num_clients, settings.seed
            grid = VirtualGrid(self.grid, self._hosts, clients, seed, number)
        arrays = to_record(state.shared)
        messages = strategy.configure_train(number, arrays, ConfigRecord(), grid)
        replies = list(grid.send_and_receive(messages, timeout=settings.round_timeout))
        new, metrics = strategy.aggregate_train(number, replies)
        if new is not None:
            # Flower's FedAvgM turns parameters into float64
            shared = {name: values.float() for name, values in to_tensors(new).items()}
            state = replace(state, shared=shared, counted=state.counted + 1)
        report = Report(
            counted=new is not None,
            metrics=dict(metrics or MetricRecord()),  # type: ignore[arg-type]
            rejections=ours.rejections if ours else [],
            hopeless=len(replies) == self.hosts and all(reply.has_error() for reply in replies),
        )
        return replace(state, round=number), report

    @property
    def _ours(self) -> RouterStrategy | None:
        return self.strategy if isinstance(self.strategy, RouterStrategy) else None

    def score(self, state: State) -> ClientTable:
        """Collect the scores of all clients."""
        return self._ask(range(self.config.federation.num_clients), state, "evaluate")

    def routing(self, state: State) -> ClientTable:
        """Collect the expert loads by class of all clients."""
        return self._ask(range(self.config.federation.num_clients), state, "evaluate.routing")

    def unseen(self, state: State) -> ClientTable:
        """Have the clients fitted and tested that never took part; no rows if there are none."""
        first = self.config.federation.num_clients
        clients = range(first, first + self.config.federation.num_unseen_clients)
        return self._ask(clients, state, "evaluate.unseen") if clients else ClientTable()

    def save_experts(self, folder: Path) -> None:
        """Have every host write the local parameters it holds; they are not sent.

        Raises:
            UserError: A host could not.
        """
        if fault := self._tell("query.save", {"folder": str(folder)}):
            raise UserError(f"a host could not save its experts: {fault}")

    def save(self, folder: Path, server_round: int) -> str:
        """Have every host write what it keeps; return why one of them did not, or nothing."""
        return self._tell("query.checkpoint", {"folder": str(folder), ROUND: server_round})

    def restore(self, folder: Path, server_round: int, hosts: int, memory: Memory) -> None:
        """Have hosts and strategy go on from a checkpoint.

        Raises:
            UserError: Something of the checkpoint is missing.
        """
        where = {"folder": str(folder), ROUND: server_round, "hosts": hosts}
        if fault := self._tell("query.restore", where):
            raise UserError(f"cannot go on after round {server_round}: {fault}")
        if type(self.strategy) not in STATELESS:
            self.strategy.load_state_dict(memory)  # type: ignore[attr-defined]

    def remembering(self) -> list[object]:
        """Return the parts of the server that remember something from round to round."""
        if type(self.strategy) in STATELESS:
            return []
        mechanisms = self._ours.mechanisms if self._ours else ()
        return [self.strategy, *(m for m in mechanisms if m.runs_on_server)]

    def memory(self) -> Memory:
        """Return what the strategy remembers."""
        if type(self.strategy) in STATELESS:
            return {}
        memory: Memory = self.strategy.state_dict()  # type: ignore[attr-defined]
        return memory

    def _tell(self, message_type: str, settings: Mapping[str, Any]) -> str:
        """Have every host do something; return why one of them did not, or nothing."""
        messages = [
            Message(RecordDict({CONFIG: ConfigRecord(dict(settings))}), node, message_type)
            for node in self._hosts.nodes
        ]
        timeout = self.config.federation.round_timeout
        replies = list(self.grid.send_and_receive(messages, timeout=timeout))
        for reply in replies:
            if reply.has_error():
                return reply.error.reason or "no reason given"
        missing = len(messages) - len(replies)
        return f"{missing} hosts did not answer in {timeout:g} s" if missing else ""

    def _ask(self, clients: Sequence[int], state: State, message_type: str) -> ClientTable:
        """Send the shared parameters to the hosts of some clients; collect the clients' metrics.

        A host that does not answer, or answers with an error or something else than was asked, is
        left out, and the log says why.

        Raises:
            RuntimeError: No host gave an answer that can be used.
        """
        arrays = to_record(state.shared)
        messages = cohort_messages(self._hosts, clients, arrays, {}, message_type)
        timeout = self.config.federation.round_timeout
        replies = list(self.grid.send_and_receive(messages, timeout=timeout))
        asked = {message.metadata.dst_node_id: clients_of(message) for message in messages}
        tables: list[dict[str, Any]] = []
        for reply in replies:
            if fault := _fault(reply, asked[reply.metadata.src_node_id], tables):
                logger.warning("%s: a host was left out: %s", message_type, fault)
            else:
                tables.append(metrics_of(reply))
        if missing := len(messages) - len(replies):
            logger.warning("%s: %d hosts did not answer in %g s", message_type, missing, timeout)
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
