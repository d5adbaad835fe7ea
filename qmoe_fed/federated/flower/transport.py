"""Carries a run over a Flower grid: to SuperNodes in this process, on Ray, or on other machines."""

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.serverapp import Grid
from torch import Tensor

from qmoe_fed.data import Projection
from qmoe_fed.errors import UserError
from qmoe_fed.federated.federation import Report, State
from qmoe_fed.federated.flower import messages as wire
from qmoe_fed.federated.flower.grid import VirtualGrid
from qmoe_fed.federated.flower.phases import GridPhases, send_along
from qmoe_fed.federated.flower.strategy import RouterStrategy, make_strategy
from qmoe_fed.federated.hidden import HiddenSum, Refused, Sum, hidden_sum
from qmoe_fed.federated.model import Model
from qmoe_fed.federated.rules import TooFewClients
from qmoe_fed.federated.updates import ClientTable
from qmoe_fed.models import Parameters

POLL_SECONDS = 0.1

logger = logging.getLogger("flwr")


class FlowerTransport:
    """Rounds and scores of a federation whose clients live on the SuperNodes of a grid.

    There are no ``hosts`` until they have joined. UserError if the strategy cannot be built.
    """

    def __init__(self, grid: Grid, model: Model, projection: Projection) -> None:
        self.config, self.model, self.projection = model.config, model, projection
        self.grid, self.hosts = grid, wire.Hosts(timeout=self.config.federation.round_timeout)
        self.strategy = make_strategy(self.config, self.hosts, model.angles)

    @property
    def hidden(self) -> HiddenSum | None:
        """The mechanism that hides who sends what, if there is one."""
        if isinstance(self.strategy, RouterStrategy):
            return hidden_sum(self.strategy.rules.mechanisms)
        return None

    def join(self) -> None:
        """Wait until every SuperNode knows how inputs become angles; UserError if one does not."""
        setup = {name: Array(values) for name, values in self.projection.to_dict().items()}
        timeout = self.config.federation.supernode_timeout
        self.hosts.nodes = _join(self.grid, ArrayRecord(setup), timeout)

    def round(self, state: State) -> tuple[State, Report]:
        """Run one round as ``Federation.round``; return the state after it and what happened."""
        number, strategy, settings = state.round + 1, self.strategy, self.config.federation
        grid = self.grid
        if not isinstance(strategy, RouterStrategy):
            grid = VirtualGrid(grid, self.hosts, settings.num_clients, settings.seed, number)
        arrays = wire.to_record(state.shared)
        messages = strategy.configure_train(number, arrays, ConfigRecord(), grid)
        replies = list(grid.send_and_receive(messages, timeout=settings.round_timeout))
        new, metrics = strategy.aggregate_train(number, replies)
        if new is not None:
            # Flower's FedAvgM turns parameters into float64
            shared = {name: values.float() for name, values in wire.to_tensors(new).items()}
            state = replace(state, shared=shared, counted=state.counted + 1)
        report = Report(
            counted=new is not None,
            metrics=dict(metrics or MetricRecord()),  # type: ignore[arg-type]
            rejections=strategy.rejections if isinstance(strategy, RouterStrategy) else [],
            hopeless=len(replies) == len(self.hosts.nodes) and all(r.has_error() for r in replies),
        )
        return replace(state, round=number), report

    def score(self, state: State) -> ClientTable:
        """Collect the scores of all clients, or their means where a mechanism hides scores."""
        clients = range(self.config.federation.num_clients)
        if not self.hidden:
            return self._ask(clients, state, "evaluate")
        phases = GridPhases(self.grid, self.hosts)
        what = Sum("score", state.round, state.shared, clients, len(self.hosts.nodes))
        asked, arrays = self.hosts.group(clients), wire.to_record(state.shared)
        messages = wire.cohort_messages(asked, arrays, {}, "evaluate")
        request = self.hidden.prepare(what, phases)
        phases.shares = self._send(send_along(messages, request))[0]
        names = self.hidden.scores
        try:
            values = self.hidden.total(what, phases)[1]
        except (TooFewClients, Refused) as reason:
            logger.warning("no scores after round %d: %s", state.round, reason)
            values = torch.full((len(names),), torch.nan, dtype=torch.float64)
        return ClientTable.of_means(dict(zip(names, values, strict=True)))

    def routing(self, state: State) -> ClientTable:
        """Collect the expert loads by class of all clients."""
        return self._ask(range(self.config.federation.num_clients), state, "evaluate.routing")

    def unseen(self, state: State) -> ClientTable:
        """Have the clients fitted and tested that never took part; no rows if there are none."""
        clients = self.config.federation.unseen_clients
        return self._ask(clients, state, "evaluate.unseen") if clients else ClientTable()

    def tell(
        self, message_type: str, settings: Mapping[str, Any], shared: Parameters | None = None
    ) -> str:
        """Have every host do something; return why one of them did not, or nothing."""
        content = RecordDict({wire.CONFIG: ConfigRecord(dict(settings))})
        content[wire.ARRAYS] = wire.to_record(shared or {})
        messages = [Message(content, node, message_type) for node in self.hosts.nodes]
        replies, missing = self._send(messages)
        failed = [reply.error.reason or "no reason given" for reply in replies if reply.has_error()]
        return failed[0] if failed else missing

    def _send(self, messages: list[Message]) -> tuple[list[Message], str]:
        """Return the replies that come in time, and how many do not, if any."""
        timeout = self.config.federation.round_timeout
        replies = list(self.grid.send_and_receive(messages, timeout=timeout))
        missing = len(messages) - len(replies)
        return replies, f"{missing} hosts did not answer in {timeout:g} s" if missing else ""

    def _ask(self, clients: Sequence[int], state: State, message_type: str) -> ClientTable:
        """Send the shared parameters to the hosts of some clients; collect the clients' metrics.

        A host whose answer cannot be used is left out, and the log says why; RuntimeError if
        there is no other.
        """
        asked = self.hosts.group(clients)
        arrays = wire.to_record(state.shared)
        replies, missing = self._send(wire.cohort_messages(asked, arrays, {}, message_type))
        tables: list[dict[str, Tensor]] = []
        for reply in replies:
            try:
                table = wire.read_scores(reply, asked[reply.metadata.src_node_id])
                if tables and table.keys() != tables[0].keys():
                    names, others = sorted(table), sorted(tables[0])
                    raise wire.Unusable(f"the reply has the metrics {names}, others {others}")
                tables.append(table)
            except wire.Unusable as fault:
                logger.warning("%s: a host was left out: %s", message_type, fault)
        if missing:
            logger.warning("%s: %s", message_type, missing)
        if not tables:
            raise RuntimeError(f"{message_type}: no host gave an answer to use; the log says why")
        columns = {name: torch.cat([table[name] for table in tables]) for name in tables[0]}
        ids, order = columns.pop(wire.CLIENT).long().sort()
        return ClientTable(ids, {name: values[order] for name, values in columns.items()})


def _join(grid: Grid, setup: ArrayRecord, timeout: float) -> tuple[int, ...]:
    """Return the nodes of all SuperNodes; only one of them can tell how many (num-partitions)."""
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
            place: dict[str, Any] = dict(reply.content.metric_records[wire.METRICS])
            partition, total = (int(place[key]) for key in wire.PLACE)
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
