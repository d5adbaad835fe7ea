"""The strategy of this project: one round as a chain of small steps on plain tensors.

    sample → train → gate → mechanisms → aggregate → server step

Everything after the gate sees one row per client, in ascending client id, float64, whatever the
order in which hosts answered; the same replies always give the same bits.
"""

import logging
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from flwr.app import ArrayRecord, ConfigRecord, Message, MessageType, MetricRecord
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Strategy
from torch import Tensor

from qmoe_fed.errors import UserError
from qmoe_fed.federated.hosts import Hosts
from qmoe_fed.federated.records import (
    ROUND,
    Cohort,
    Layout,
    Rejection,
    cohort_messages,
    layout_of,
    to_arrays,
    to_vector,
)
from qmoe_fed.models import wrap
from strategies.aggregators import Aggregator, TooFewClients, mean
from strategies.gate import Limits, check_rows, read_replies
from strategies.mechanisms import Mechanism, on_server
from strategies.sampling import sample_clients
from strategies.server_steps import Plain, ServerStep, State

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Round:
    """What the server keeps between sending and aggregating."""

    number: int
    asked: dict[int, list[int]]
    layout: Layout
    shared: Tensor

    @property
    def num_sampled(self) -> int:
        return sum(map(len, self.asked.values()))


class RouterStrategy(Strategy):
    """Aggregates the updates of a cohort of clients; one message per host carries many clients.

    A round in which too few clients are left does not count: parameters and the server
    optimiser's state stay as they are.

    Args:
        hosts: Which node hosts which client.
        num_clients: Clients 0 … num_clients - 1 train.
        seed: Seed of sampling and noise.
        fraction_train: Share of the clients that train in a round, in (0, 1].
        sampling: ``"fixed"`` or ``"poisson"``, see ``sample_clients``.
        limits: What the gate lets pass.
        quorum: Share of the sampled clients that must pass the gate for a round to count.
        weighting: ``"uniform"``, or ``"examples"`` for the number of training samples.
        aggregator: Turns updates ``(C, P)`` and weights ``(C,)`` into one update ``(P,)``.
        server_step: Turns the aggregate into a step.
        mechanisms: Privacy mechanisms; their server halves run here.
        angles: Names of the parameters that are angles, shared or not: their updates, and their
            values after the step, are taken in (-π, π].

    Attributes:
        cohort_aware: That messages carry cohorts; other strategies need one node per client.
        rejections: The clients left out of the last round, and why.
    """

    cohort_aware: ClassVar[bool] = True

    def __init__(
        self,
        hosts: Hosts,
        num_clients: int,
        *,
        seed: int = 0,
        fraction_train: float = 1.0,
        sampling: str = "fixed",
        limits: Limits = Limits(),  # noqa: B008 frozen
        quorum: float = 0.5,
        weighting: str = "uniform",
        aggregator: Aggregator = mean,
        server_step: ServerStep = Plain(),  # noqa: B008 frozen
        mechanisms: Sequence[Mechanism] = (),
        angles: frozenset[str] = frozenset(),
    ) -> None:
        self.hosts = hosts
        self.num_clients = num_clients
        self.seed = seed
        self.fraction_train = fraction_train
        self.sampling = sampling
        self.limits = limits
        self.quorum = quorum
        self.weighting = weighting
        self.aggregator = aggregator
        self.server_step = server_step
        self.mechanisms = tuple(mechanisms)
        self.angles = angles
        self.rejections: list[Rejection] = []
        self._step_state: State | None = None
        self._round: _Round | None = None

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> list[Message]:
        """Sample clients and return one message per host that has any of them.

        Raises:
            PrivacyBudgetExhausted: A mechanism ends the run before this round.
        """
        for mechanism in self.mechanisms:
            mechanism.before_round(server_round)
        sampled = sample_clients(
            self.num_clients, self.fraction_train, self.sampling, self.seed, server_round
        )
        self._round = _Round(
            server_round, self.hosts.group(sampled), layout_of(arrays), to_vector(arrays)
        )
        settings = {**config, ROUND: server_round}
        return cohort_messages(self.hosts, sampled, arrays, settings, MessageType.TRAIN)

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord]:
        """Return the next shared parameters, or None if the round does not count, and metrics.

        Raises:
            UserError: The aggregator or a mechanism returned what is not an update.
        """
        current = self._round
        if current is None or current.number != server_round:
            raise RuntimeError(f"aggregate_train({server_round}) without its configure_train")
        cohort = self._admit(current, replies)
        aggregate = self._aggregate(current, cohort)
        arrays = None if aggregate is None else self._step(current, aggregate)
        metrics = MetricRecord(
            {
                "clients-sampled": current.num_sampled,
                "clients-accepted": len(cohort.clients),
                "clients-rejected": self._left_out(cohort),
                "round-counted": int(arrays is not None),
            }
        )
        if cohort.clients:
            metrics["train-loss"] = cohort.losses.mean().item()
        for mechanism in self.mechanisms:
            metrics.update(mechanism.metrics())
        return arrays, metrics

    def configure_evaluate(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> list[Message]:
        """Return no messages: personal models are evaluated outside of the strategy."""
        return []

    def aggregate_evaluate(self, server_round: int, replies: Iterable[Message]) -> None:
        """Return nothing: see ``configure_evaluate``."""

    def summary(self) -> None:
        """Log how the strategy is set up."""
        logger.info(
            "%d clients on %d hosts, fraction %g (%s), aggregator %s, step %s, mechanisms %s",
            self.num_clients,
            len(self.hosts.nodes),
            self.fraction_train,
            self.sampling,
            self.aggregator,
            self.server_step,
            self.mechanisms,
        )

    def state_dict(self) -> dict[str, int | float | Tensor]:
        """Return what a resumed run needs besides the shared parameters: numbers and tensors.

        A derived class defines this and ``load_state_dict`` itself, if only as ``state_dict =
        RouterStrategy.state_dict``; otherwise its runs make no checkpoints.
        """
        step = {f"step.{name}": values for name, values in (self._step_state or {}).items()}
        spent = {
            f"mechanism.{i}.{name}": value
            for i, mechanism in enumerate(self.mechanisms)
            for name, value in mechanism.state_dict().items()
        }
        return {**step, **spent}

    def load_state_dict(self, state: dict[str, int | float | Tensor]) -> None:
        """Go on from a saved state of a strategy with the same parts."""

        def part(prefix: str) -> dict[str, int | float | Tensor]:
            return {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}

        self._step_state = {name: torch.as_tensor(v) for name, v in part("step.").items()} or None
        for i, mechanism in enumerate(self.mechanisms):
            mechanism.load_state_dict(part(f"mechanism.{i}."))

    def _admit(self, current: _Round, replies: Iterable[Message]) -> Cohort:
        """Return the clients that pass the gate; keep and log the others."""
        cohort, unread = read_replies(replies, current.asked, current.layout)
        updates = torch.where(self._angle_mask(current), wrap(cohort.updates), cohort.updates)
        cohort, outside = check_rows(replace(cohort, updates=updates), self.limits)
        self.rejections = sorted([*unread, *outside], key=lambda rejection: rejection.client)
        for rejection in self.rejections:
            logger.warning(
                "round %d: client %d left out: %s",
                current.number,
                rejection.client,
                rejection.reason,
            )
        if self.weighting == "uniform":
            return replace(cohort, weights=torch.ones_like(cohort.weights))
        return cohort

    def _aggregate(self, current: _Round, cohort: Cohort) -> Tensor | None:
        """Return the aggregated update ``(P,)``, or None if too few clients are left."""
        accepted, needed = len(cohort.clients), math.ceil(self.quorum * current.num_sampled - 1e-9)
        if not any(mechanism.releases_empty_round for mechanism in self.mechanisms):
            needed = max(1, needed)
        try:
            if accepted < needed:
                raise TooFewClients(f"{accepted} clients accepted, quorum is {needed}")
            aggregate = on_server(
                self.mechanisms,
                cohort,
                lambda rows: self.aggregator(rows.updates, rows.weights),
                current.number,
                self.seed,
            )
        except TooFewClients as reason:
            logger.warning("round %d does not count: %s", current.number, reason)
            return None
        if (
            not isinstance(aggregate, Tensor)
            or aggregate.shape != current.shared.shape
            or not aggregate.isfinite().all()
        ):
            raise UserError(
                f"round {current.number}: aggregator {self.aggregator} or a mechanism returned "
                f"{aggregate!r}; expected a tensor of {len(current.shared)} finite numbers"
            )
        return aggregate

    def _step(self, current: _Round, aggregate: Tensor) -> ArrayRecord:
        if self._step_state is None:
            self._step_state = self.server_step.init(len(aggregate))
        step, self._step_state = self.server_step.apply(self._step_state, aggregate)
        moved = current.shared + step
        return to_arrays(torch.where(self._angle_mask(current), wrap(moved), moved), current.layout)

    def _angle_mask(self, current: _Round) -> Tensor:
        """Return which of the shared parameters are angles, ``(P,)``."""
        parts = [
            torch.full((math.prod(shape),), name in self.angles)
            for name, shape in current.layout.items()
        ]
        return torch.cat([torch.zeros(0, dtype=torch.bool), *parts])

    def _left_out(self, cohort: Cohort) -> list[int]:
        # A host may have named a client of another host, which then is not left out.
        return sorted({rejection.client for rejection in self.rejections} - set(cohort.clients))
