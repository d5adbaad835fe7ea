"""The strategy of a run, as Flower wants it: ours, a user's, or one of Flower's own."""

import inspect
import logging
from collections.abc import Iterable
from dataclasses import fields
from typing import Any, NamedTuple

import torch
from flwr.app import ArrayRecord, ConfigRecord, Message, MessageType, MetricRecord
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Strategy
from torch import Tensor

from qmoe_fed.config import Config, StrategyConfig, load_object
from qmoe_fed.config.settings import kebab, parse_options
from qmoe_fed.errors import UserError
from qmoe_fed.federated.build import ROUTER, check_chain, make_mechanisms, make_rules
from qmoe_fed.federated.flower import messages as wire
from qmoe_fed.federated.flower.messages import Hosts
from qmoe_fed.federated.flower.phases import GridPhases, send_along
from qmoe_fed.federated.hidden import Sum, hidden_cohort, hidden_sum
from qmoe_fed.federated.mechanism import Memory, group_of, grouped
from qmoe_fed.federated.rules import Rules, StepState, close_round, open_round
from qmoe_fed.federated.updates import Layout, Rejection

logger = logging.getLogger(__name__)


class _Round(NamedTuple):
    """What the server keeps between sending and aggregating."""

    number: int
    asked: dict[int, list[int]]
    layout: Layout
    shared: Tensor
    phases: GridPhases
    what: Sum


class RouterStrategy(Strategy):
    """Aggregates the updates of a cohort of clients; one message per host carries many clients.

    A round in which too few clients are left does not count: parameters and the server
    optimiser's state stay as they are.

    Args:
        hosts: Which node hosts which client.
        num_clients: Clients 0 … num_clients - 1 train.
        angles: Names of the parameters that are angles, shared or not: their updates, and their
            values after the step, are taken in (-π, π].
        rules: Whatever else ``Rules`` has, by its name: ``seed``, ``aggregator``, ``quorum`` …
            They and ``num_clients`` become attributes, beside ``rejections``: the clients left out
            of the last round, and why.
    """

    def __init__(
        self, hosts: Hosts, num_clients: int, *, angles: frozenset[str] = frozenset(), **rules: Any
    ) -> None:
        self.hosts, self.angles = hosts, angles
        # attributes of its own, which a derived class may read and change
        vars(self).update(vars(Rules(num_clients, **rules)))
        self.rejections: list[Rejection] = []
        self._step_state: StepState | None = None
        self._round: _Round | None = None

    @property
    def rules(self) -> Rules:
        """How clients are chosen and what becomes of their updates, as the attributes are now."""
        return Rules(**{item.name: vars(self)[item.name] for item in fields(Rules)})

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> list[Message]:
        """Sample clients and return a message per host that has any; errors as ``open_round``."""
        sampled, shared = open_round(self.rules, server_round), wire.to_tensors(arrays)
        asked, phases = self.hosts.group(sampled), GridPhases(grid, self.hosts)
        layout = Layout({name: tuple(a.shape) for name, a in arrays.items()}, self.angles)
        what = Sum("train", server_round, shared, sampled, len(self.hosts.nodes))
        self._round = _Round(server_round, asked, layout, layout.flat(shared), phases, what)
        settings = {**config, wire.ROUND: server_round}
        messages = wire.cohort_messages(asked, arrays, settings, MessageType.TRAIN)
        hidden = hidden_sum(self.rules.mechanisms)
        return send_along(messages, hidden.prepare(what, phases)) if hidden else messages

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord]:
        """Return the next shared parameters, None if the round does not count, and metrics."""
        if self._round is None or self._round.number != server_round:
            raise RuntimeError(f"aggregate_train({server_round}) without its configure_train")
        number, asked, layout, shared, phases, what = self._round
        sampled, step = sum(map(len, asked.values())), self._step_state
        if hidden := hidden_sum(self.rules.mechanisms):
            phases.shares = list(replies)
            rows, unread = hidden_cohort(hidden, self.rules, what, layout, phases)
        else:
            rows, unread = wire.read_replies(replies, asked, layout)
        end = close_round(self.rules, number, sampled, rows, unread, layout, shared, step)
        self._step_state, self.rejections = end.step, end.rejections
        for one in end.rejections:
            logger.warning("round %d: client %d left out: %s", server_round, one.client, one.reason)
        if end.fault:
            logger.warning("round %d does not count: %s", server_round, end.fault)
        new = None if end.values is None else wire.to_record(layout.parameters(end.values))
        return new, MetricRecord(end.metrics)  # type: ignore[arg-type]

    def configure_evaluate(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> list[Message]:
        """Return no messages: personal models are evaluated outside of the strategy."""
        return []

    def aggregate_evaluate(self, server_round: int, replies: Iterable[Message]) -> None:
        """Return nothing: see ``configure_evaluate``."""

    def summary(self) -> None:
        """Log how the strategy is set up."""
        clients, hosts = self.rules.num_clients, len(self.hosts.nodes)
        logger.info("%d clients on %d hosts: %s", clients, hosts, self.rules)

    def state_dict(self) -> Memory:
        """Return what a resumed run needs besides the shared parameters: numbers and tensors.

        A derived class defines this and ``load_state_dict`` itself, if only as ``state_dict =
        RouterStrategy.state_dict``; otherwise its runs make no checkpoints.
        """
        mechanisms = enumerate(self.rules.mechanisms)
        spent = {f"mechanism.{i}": mechanism.state_dict() for i, mechanism in mechanisms}
        return grouped({"step": dict(self._step_state or {}), **spent})

    def load_state_dict(self, state: Memory) -> None:
        """Go on from a saved state of a strategy with the same parts."""
        for i, mechanism in enumerate(self.rules.mechanisms):
            mechanism.load_state_dict(group_of(state, f"mechanism.{i}"))
        step = {name: torch.as_tensor(value) for name, value in group_of(state, "step").items()}
        self._step_state = step or None


def make_strategy(config: Config, hosts: Hosts, angles: frozenset[str]) -> Strategy:
    """Return the strategy a config names, after checking that its parts go together.

    ``strategy`` is ``"router"`` or the import path of a class: one derived from ``RouterStrategy``
    gets all settings and ``strategy-options`` as keyword arguments, any other Flower strategy
    (e.g. ``"flwr.serverapp.strategy:FedMedian"``) ``fraction-train`` and ``strategy-options``.
    Hosts and angles are as for ``RouterStrategy``. UserError if settings cannot go together.
    """
    path = config.strategy.strategy
    kind = RouterStrategy if path == ROUTER else load_object(path, "strategy")
    if not (isinstance(kind, type) and issubclass(kind, Strategy)):
        raise UserError(f"strategy = {path!r}: is not a class derived from Flower's Strategy")
    options = parse_options("strategy-options", config.strategy.strategy_options)
    if issubclass(kind, RouterStrategy):
        arguments = {"hosts": hosts, "angles": angles, **vars(make_rules(config))}
        if both := sorted(arguments.keys() & options.keys()):
            raise UserError(f"strategy-options: {', '.join(both)} have settings of their own")
    else:
        _refuse_router_settings(config)
        arguments = _flower_defaults(kind, config)
        if idle := sorted(name for name in options if "evaluate" in name):
            raise UserError(
                f"strategy-options: {', '.join(idle)} would have no effect: all clients are "
                "evaluated after every round that evaluate-every names"
            )
    try:
        return kind(**{**arguments, **options})
    except (TypeError, ValueError) as error:
        raise UserError(f"strategy = {path!r}: {error}") from error


def _refuse_router_settings(config: Config) -> None:
    """Refuse settings that only RouterStrategy would heed."""
    given, mechanisms = config.strategy, make_mechanisms(config)
    usual = vars(StrategyConfig(given.strategy, given.strategy_options))
    ignored = [kebab(name) for name, value in vars(given).items() if value != usual[name]]
    ignored += ["sampling"] if config.federation.sampling != "fixed" else []
    ignored += ["mechanisms"] if any(m.runs_on_server for m in mechanisms) else []
    if ignored:
        raise UserError(
            f"strategy = {given.strategy!r} would ignore {', '.join(sorted(ignored))}: only "
            "strategy = 'router' and classes derived from it heed these; Flower's own take "
            "strategy-options"
        )
    check_chain(config, mechanisms)


def _flower_defaults(kind: type[Strategy], config: Config) -> dict[str, object]:
    wanted: dict[str, object] = {"min_train_nodes": 1, "min_available_nodes": 1}
    wanted |= {"fraction_train": config.federation.fraction_train, "fraction_evaluate": 0.0}
    accepted = inspect.signature(kind).parameters
    anything = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in accepted.values())
    return {name: value for name, value in wanted.items() if anything or name in accepted}
