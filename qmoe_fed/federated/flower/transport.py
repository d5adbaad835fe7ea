"""Carries a run over a Flower grid: to SuperNodes in this process, on Ray, or on other machines."""

import logging
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.serverapp import Grid
from torch import Tensor

from qmoe_fed.config import Config
from qmoe_fed.data import Projection, shape_of
from qmoe_fed.federated.federation import Report, State
from qmoe_fed.federated.flower import messages as wire
from qmoe_fed.federated.flower.grid import VirtualGrid
from qmoe_fed.federated.flower.joining import fault_of, join, place_of
from qmoe_fed.federated.flower.phases import GridPhases, send_along
from qmoe_fed.federated.flower.strategy import RouterStrategy, make_strategy
from qmoe_fed.federated.hidden import HiddenSum, Refused, Sum, hidden_sum
from qmoe_fed.federated.model import Model
from qmoe_fed.federated.rules import TooFewClients
from qmoe_fed.federated.updates import ClientTable, Rejection
from qmoe_fed.models import Parameters

logger = logging.getLogger("flwr")


class FlowerTransport:
    """Rounds and scores of a federation whose clients live on the SuperNodes of a grid.

    There are no ``hosts`` until they have joined; ``written`` is where they wrote for checkpoints,
    see ``keeping.restore``. UserError if the strategy cannot be built.
    """

    def __init__(self, grid: Grid, model: Model, projection: Projection) -> None:
        self.config, self.model, self.projection = model.config, model, projection
        self.grid, self._failed, self.written = grid, set[int](), dict[str, Any]()
        self.hosts = wire.Hosts(timeout=self.config.federation.round_timeout)
        self.strategy = make_strategy(self.config, self.hosts, model.angles)

    @property
    def hidden(self) -> HiddenSum | None:
        """The mechanism that hides who sends what, if there is one."""
        if isinstance(self.strategy, RouterStrategy):
            return hidden_sum(self.strategy.rules.mechanisms)
        return None

    def join(self) -> None:
        """Wait until every SuperNode knows how inputs become angles; UserError if one does not."""
        timeout = self.config.federation.supernode_timeout
        self.hosts.nodes = join(self.grid, self._setup(), timeout)

    def _setup(self, **more: bool) -> RecordDict:
        setup = {name: Array(values) for name, values in self.projection.to_dict().items()}
        return RecordDict({"setup": ArrayRecord(setup), wire.CONFIG: ConfigRecord({**more})})

    def _rejoin(self) -> None:
        """Let hosts that failed last, and were started anew, in again with what they wrote last."""
        nodes = dict(enumerate(self.hosts.nodes))
        others = {node for i, node in nodes.items() if i not in self._failed}
        new = [node for node in self.grid.get_node_ids() if node not in others]
        messages = [Message(self._setup(again=True), node, "query.join") for node in new]
        timeout = self.config.federation.supernode_timeout
        back = set[int]()
        for reply in wire.send(self.grid, messages, timeout):
            partition, total = place_of(reply)
            if total == len(nodes) and partition in self._failed:
                nodes[partition] = reply.metadata.src_node_id
                back.add(partition)
        self.hosts.nodes, self._failed = tuple(nodes.values()), self._failed - back
        if back and self.written:
            faults = self.tell("query.restore", {**self.written, "again": True}, hosts=back)
            for number, why in faults.items():
                logger.warning("host %d is back without what it kept: %s", number, why)

    def round(self, state: State) -> tuple[State, Report]:
        """Run one round as ``Federation.round``; return the state after it and what happened."""
        if self._failed:
            self._rejoin()
        number, strategy, settings = state.round + 1, self.strategy, self.config.federation
        grid, arrays = self.grid, wire.to_record(state.shared)
        if not isinstance(strategy, RouterStrategy):
            grid = VirtualGrid(self._send, self.hosts, settings.num_clients, settings.seed, number)
        messages = strategy.configure_train(number, arrays, ConfigRecord(), grid)
        replies = self._send(messages) if grid is self.grid else wire.send(grid, messages, None)
        new, metrics = strategy.aggregate_train(number, replies)
        if new is not None:
            # Flower's FedAvgM turns parameters into float64
            shared = {name: values.float() for name, values in wire.to_tensors(new).items()}
            state = replace(state, shared=shared, counted=state.counted + 1)
        report = Report(
            counted=new is not None,
            metrics=dict(metrics or MetricRecord()),  # type: ignore[arg-type]
            rejections=strategy.rejections if isinstance(strategy, RouterStrategy) else [],
            hopeless=len(self._failed) == len(self.hosts.nodes),
        )
        return replace(state, round=number), report

    def _send(self, messages: Iterable[Message]) -> list[Message]:
        """Return the replies to messages, and note which hosts fail; the log names them once."""
        messages = list(messages)
        replies = wire.send(self.grid, messages, self.config.federation.round_timeout)
        by_node = {reply.metadata.src_node_id: reply for reply in replies}
        asked = {message.metadata.dst_node_id for message in messages}
        hosts = {i: node for i, node in enumerate(self.hosts.nodes) if node in asked}
        faults = {i: why for i, node in hosts.items() if (why := fault_of(by_node.get(node)))}
        for i in sorted(faults.keys() - self._failed):
            logger.warning("host %d: %s", i, wire.one_line(faults[i].removeprefix("its host ")))
        self._failed = (self._failed - hosts.keys()) | faults.keys()
        return replies

    def score(self, state: State) -> ClientTable:
        """Collect the scores of all clients, or their means where a mechanism hides scores."""
        clients = range(self.config.federation.num_clients)
        if not self.hidden:
            return self._ask(clients, state, "evaluate")
        phases = GridPhases(self.grid, self.hosts)
        what = Sum("score", state.round, state.shared, clients, len(self.hosts.nodes))
        asked, arrays = self.hosts.group(clients), wire.to_record(state.shared)
        messages = wire.cohort_messages(asked, arrays, {wire.ROUND: state.round}, "evaluate")
        request = self.hidden.prepare(what, phases)
        phases.shares = self._send(send_along(messages, request))
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
        self,
        message_type: str,
        settings: Mapping[str, Any],
        shared: Parameters | None = None,
        hosts: Collection[int] | None = None,
    ) -> dict[int, str]:
        """Have hosts do something; return why some did not, by number of the host."""
        content = RecordDict({wire.CONFIG: ConfigRecord(dict(settings))})
        if shared is not None:
            content[wire.ARRAYS] = wire.to_record(shared)
        nodes = {i: n for i, n in enumerate(self.hosts.nodes) if hosts is None or i in hosts}
        messages = [Message(content, node, message_type) for node in nodes.values()]
        replies = self._send(messages)
        by_node = {reply.metadata.src_node_id: reply for reply in replies}
        return {i: why for i, node in nodes.items() if (why := fault_of(by_node.get(node)))}

    def _ask(self, clients: Sequence[int], state: State, message_type: str) -> ClientTable:
        """Send the shared parameters to the hosts of some clients; collect the clients' metrics.

        What cannot be used is left out, and the log says why: a client, or all of a host.
        """
        asked, most = self.hosts.group(clients), _ranges(self.config, message_type)
        arrays = wire.to_record(state.shared)
        about = {wire.ROUND: state.round}
        messages = wire.cohort_messages(asked, arrays, about, message_type)
        replies, tables = self._send(messages), list[dict[str, Tensor]]()
        by_node = {reply.metadata.src_node_id: reply for reply in replies}
        for node, ids in asked.items():
            try:
                if (reply := by_node.get(node)) is None:
                    raise wire.Unusable(fault_of(None))
                table, faults = wire.read_scores(reply, ids, most)
                tables.append(table)
            except wire.Unusable as error:
                faults = [Rejection(client, str(error)) for client in ids]
            for fault in faults[:1]:
                others = f" and {len(faults) - 1} others of its host" if faults[1:] else ""
                told = f"{message_type}: client {fault.client}{others} left out: {fault.reason}"
                logger.warning(told)
        names = dict.fromkeys(name for table in tables for name in table)
        unknown = [torch.full_like(table[wire.CLIENT], torch.nan) for table in tables]
        pairs = list(zip(tables, unknown, strict=True))
        values = {name: torch.cat([t.get(name, no) for t, no in pairs]) for name in names}
        if not values:
            return ClientTable()
        numbers, order = values.pop(wire.CLIENT).long().sort()
        return ClientTable(numbers, {name: column[order] for name, column in values.items()})


def _ranges(config: Config, message_type: str) -> dict[str, float]:
    """Return the metrics of a client in a reply to ``evaluate…``: the least is 0, this the most."""
    experts, cells = config.model.num_experts, config.model.num_experts * shape_of(config).classes
    if message_type == "evaluate.routing":
        return dict.fromkeys((f"cell-{j}" for j in range(cells)), 1.0)
    if message_type == "evaluate.unseen":
        sizes = config.unseen.sample_sizes
        return {f"{kind}-{m}": 1.0 for kind in ("shared", "scratch", "random") for m in sizes}
    loads = dict.fromkeys((f"load-{i}" for i in range(experts)), 1.0)
    entropy, any_number = math.log2(experts), 1e300
    counts = dict.fromkeys(("train-samples", "test-samples", "loss"), any_number)
    return {"accuracy": 1.0, "routing-entropy": entropy, **loads, **counts}
