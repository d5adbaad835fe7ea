"""Carries a run over a Flower grid: to SuperNodes in this process, on Ray, or on other machines."""

import logging
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.serverapp import Grid
from torch import Tensor

from qmoe_fed.config import Config
from qmoe_fed.data import Projection, shape_of
from qmoe_fed.errors import UserError
from qmoe_fed.federated.federation import Report, State
from qmoe_fed.federated.flower import messages as wire
from qmoe_fed.federated.flower.grid import VirtualGrid
from qmoe_fed.federated.flower.phases import GridPhases, send_along
from qmoe_fed.federated.flower.strategy import RouterStrategy, make_strategy
from qmoe_fed.federated.hidden import HiddenSum, Refused, Sum, hidden_sum
from qmoe_fed.federated.model import Model
from qmoe_fed.federated.rules import TooFewClients
from qmoe_fed.federated.updates import ClientTable, Rejection
from qmoe_fed.models import Parameters

POLL_SECONDS = 0.1

logger = logging.getLogger("flwr")


class FlowerTransport:
    """Rounds and scores of a federation whose clients live on the SuperNodes of a grid.

    There are no ``hosts`` until they have joined. UserError if the strategy cannot be built.
    """

    def __init__(self, grid: Grid, model: Model, projection: Projection) -> None:
        self.config, self.model, self.projection = model.config, model, projection
        self.grid, self._failed = grid, set[int]()
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
        self.hosts.nodes = _join(self.grid, self._setup(), timeout)

    def _setup(self, **more: bool) -> RecordDict:
        setup = {name: Array(values) for name, values in self.projection.to_dict().items()}
        return RecordDict({"setup": ArrayRecord(setup), wire.CONFIG: ConfigRecord({**more})})

    def _rejoin(self) -> None:
        """Let hosts that failed when they were asked last, and were started anew, in again."""
        nodes = dict(enumerate(self.hosts.nodes))
        others = {node for i, node in nodes.items() if i not in self._failed}
        new = [node for node in self.grid.get_node_ids() if node not in others]
        messages = [Message(self._setup(again=True), node, "query.join") for node in new]
        timeout = self.config.federation.supernode_timeout
        for reply in wire.send(self.grid, messages, timeout):
            partition, total = _place(reply)
            if total == len(nodes) and partition in self._failed:
                nodes[partition] = reply.metadata.src_node_id
        self.hosts.nodes = tuple(nodes.values())

    def round(self, state: State) -> tuple[State, Report]:
        """Run one round as ``Federation.round``; return the state after it and what happened."""
        if self._failed:
            self._rejoin()
        number, strategy, settings = state.round + 1, self.strategy, self.config.federation
        grid = self.grid
        if not isinstance(strategy, RouterStrategy):
            grid = VirtualGrid(grid, self.hosts, settings.num_clients, settings.seed, number)
        arrays = wire.to_record(state.shared)
        messages = strategy.configure_train(number, arrays, ConfigRecord(), grid)
        replies = wire.send(grid, messages, settings.round_timeout)
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
        messages = wire.cohort_messages(asked, arrays, {wire.ROUND: state.round}, "evaluate")
        request = self.hidden.prepare(what, phases)
        phases.shares = wire.send(self.grid, send_along(messages, request), self.hosts.timeout)
        by_node = {reply.metadata.src_node_id: reply for reply in phases.shares}
        self._failed = {i for i, n in enumerate(self.hosts.nodes) if _fault(by_node.get(n))}
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
    ) -> dict[int, str]:
        """Have every host do something; return why some did not, by number of the host."""
        content = RecordDict({wire.CONFIG: ConfigRecord(dict(settings))})
        if shared is not None:
            content[wire.ARRAYS] = wire.to_record(shared)
        nodes, timeout = self.hosts.nodes, self.config.federation.round_timeout
        messages = [Message(content, node, message_type) for node in nodes]
        replies = wire.send(self.grid, messages, timeout)
        by_node = {reply.metadata.src_node_id: reply for reply in replies}
        return {i: fault for i, node in enumerate(nodes) if (fault := _fault(by_node.get(node)))}

    def _ask(self, clients: Sequence[int], state: State, message_type: str) -> ClientTable:
        """Send the shared parameters to the hosts of some clients; collect the clients' metrics.

        What cannot be used is left out, and the log says why: a client, or all of a host.
        """
        asked, timeout = self.hosts.group(clients), self.config.federation.round_timeout
        arrays, most = wire.to_record(state.shared), _ranges(self.config, message_type)
        about = {wire.ROUND: state.round}
        messages = wire.cohort_messages(asked, arrays, about, message_type)
        replies, tables = wire.send(self.grid, messages, timeout), list[dict[str, Tensor]]()
        by_node = {reply.metadata.src_node_id: reply for reply in replies}
        for node, ids in asked.items():
            try:
                if (reply := by_node.get(node)) is None:
                    raise wire.Unusable(_fault(None))
                table, faults = wire.read_scores(reply, ids, most)
                tables.append(table)
            except wire.Unusable as error:
                faults = [Rejection(client, str(error)) for client in ids]
            for fault in faults[:1]:
                others = f" and {len(faults) - 1} others of its host" if faults[1:] else ""
                told = f"{message_type}: client {fault.client}{others} left out: {fault.reason}"
                logger.warning(told)
        self._failed = {i for i, n in enumerate(self.hosts.nodes) if _fault(by_node.get(n))}
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


def _fault(reply: Message | None) -> str:
    """Return why a host did not do what it was told, or nothing."""
    if reply is None:
        return "its host did not answer in time"
    return wire.one_line(reply.error.reason or "no reason given") if reply.has_error() else ""


def _place(reply: Message) -> tuple[int, int]:
    """Return the partition-id of a host and how many there are; (0, 0) if it does not say."""
    try:
        place: dict[str, Any] = dict(reply.content.metric_records[wire.METRICS])
        partition, total = (int(place[key]) for key in wire.PLACE)
    except (KeyError, TypeError, ValueError, OverflowError):  # an error has no content
        return 0, 0
    return partition, total


def _join(grid: Grid, setup: RecordDict, timeout: float) -> tuple[int, ...]:
    """Return the nodes of all SuperNodes; only one of them can tell how many (num-partitions)."""
    deadline = time.monotonic() + timeout
    nodes: dict[int, int] = {}
    expected, trouble = 0, ""
    while not expected or len(nodes) < expected:
        new = [node for node in grid.get_node_ids() if node not in nodes.values()]
        messages = [Message(RecordDict(dict(setup)), node, "query.join") for node in new]
        remaining = max(deadline - time.monotonic(), POLL_SECONDS)
        for reply in grid.send_and_receive(messages, timeout=remaining) if messages else ():
            if reply.has_error():
                trouble = _fault(reply)
                if UserError.__name__ in trouble:  # it would say so again
                    raise UserError(_explain(len(nodes), expected, timeout, trouble))
                continue
            partition, total = _place(reply)
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
