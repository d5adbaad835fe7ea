"""Carries a run over a Flower grid: to SuperNodes in this process, on Ray, or on other machines."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.serverapp import Grid

from qmoe_fed.data import Projection
from qmoe_fed.federated.federation import Report, State
from qmoe_fed.federated.flower.messages import (
    CLIENT,
    CONFIG,
    Hosts,
    clients_of,
    cohort_messages,
    join_hosts,
    to_record,
    to_tensors,
)
from qmoe_fed.federated.flower.replies import Unusable, read_scores
from qmoe_fed.federated.flower.strategy import RouterStrategy, make_strategy
from qmoe_fed.federated.flower.virtual_grid import VirtualGrid
from qmoe_fed.federated.model import Model
from qmoe_fed.federated.updates import ClientTable

logger = logging.getLogger("flwr")


class FlowerTransport:
    """Rounds and scores of a federation whose clients live on the SuperNodes of a grid.

    Attributes:
        hosts: The SuperNodes; none until they have joined.
        strategy: The strategy of the run.

    Raises:
        UserError: The strategy cannot be built.
    """

    def __init__(self, grid: Grid, model: Model, projection: Projection) -> None:
        self.config, self.model, self.projection = model.config, model, projection
        self.grid, self.hosts = grid, Hosts()
        self.strategy = make_strategy(self.config, self.hosts, model.angles)

    def join(self) -> None:
        """Wait until all SuperNodes are there; errors as ``join_hosts``."""
        setup = {name: Array(values) for name, values in self.projection.to_dict().items()}
        timeout = self.config.federation.supernode_timeout
        self.hosts.nodes = join_hosts(self.grid, ArrayRecord(setup), timeout)

    def round(self, state: State) -> tuple[State, Report]:
        """Run one round; return the state after it and what happened.

        Raises:
            PrivacyBudgetExhausted: A mechanism ends the run before the round.
        """
        number, strategy, settings = state.round + 1, self.strategy, self.config.federation
        grid, ours = self.grid, isinstance(strategy, RouterStrategy)
        if not ours:
            clients, seed = settings.num_clients, settings.seed
            grid = VirtualGrid(self.grid, self.hosts, clients, seed, number)
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
            rejections=strategy.rejections if isinstance(strategy, RouterStrategy) else [],
            hopeless=len(replies) == len(self.hosts.nodes) and all(r.has_error() for r in replies),
        )
        return replace(state, round=number), report

    def score(self, state: State) -> ClientTable:
        """Collect the scores of all clients."""
        return self._ask(range(self.config.federation.num_clients), state, "evaluate")

    def routing(self, state: State) -> ClientTable:
        """Collect the expert loads by class of all clients."""
        return self._ask(range(self.config.federation.num_clients), state, "evaluate.routing")

    def unseen(self, state: State) -> ClientTable:
        """Have the clients fitted and tested that never took part; no rows if there are none."""
        clients = self.config.federation.unseen_clients
        return self._ask(clients, state, "evaluate.unseen") if clients else ClientTable()

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

    def _ask(self, clients: Sequence[int], state: State, message_type: str) -> ClientTable:
        """Send the shared parameters to the hosts of some clients; collect the clients' metrics.

        A host that does not answer, or answers with an error or something else than was asked, is
        left out, and the log says why.

        Raises:
            RuntimeError: No host gave an answer that can be used.
        """
        arrays = to_record(state.shared)
        messages = cohort_messages(self.hosts, clients, arrays, {}, message_type)
        asked = {message.metadata.dst_node_id: clients_of(message) for message in messages}
        timeout = self.config.federation.round_timeout
        replies = list(self.grid.send_and_receive(messages, timeout=timeout))
        tables: list[dict[str, torch.Tensor]] = []
        for reply in replies:
            try:
                table = read_scores(reply, asked[reply.metadata.src_node_id])
                if tables and table.keys() != tables[0].keys():
                    names, others = sorted(table), sorted(tables[0])
                    raise Unusable(f"the reply has the metrics {names}, others {others}")
                tables.append(table)
            except Unusable as fault:
                logger.warning("%s: a host was left out: %s", message_type, fault)
        if missing := len(messages) - len(replies):
            logger.warning("%s: %d hosts did not answer in %g s", message_type, missing, timeout)
        if not tables:
            raise RuntimeError(f"{message_type}: no host gave an answer to use; the log says why")
        columns = {name: torch.cat([table[name] for table in tables]) for name in tables[0]}
        ids, order = columns.pop(CLIENT).long().sort()
        return ClientTable(ids, {name: values[order] for name, values in columns.items()})
