"""The strategy of this project, as Flower wants it: the rules of a round behind messages."""

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from flwr.app import ArrayRecord, ConfigRecord, Message, MessageType, MetricRecord
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Strategy
from torch import Tensor

from qmoe_fed.config.plugins import AGGREGATORS, SERVER_STEPS, load_object
from qmoe_fed.federated.flower.hosts import Hosts
from qmoe_fed.federated.flower.messages import ROUND, cohort_messages, to_record, to_tensors
from qmoe_fed.federated.flower.replies import read_replies
from qmoe_fed.federated.gate import Limits
from qmoe_fed.federated.mechanism import Mechanism, Memory
from qmoe_fed.federated.rules import (
    Aggregator,
    Rules,
    ServerStep,
    StepState,
    close_round,
    memory_of,
    open_round,
    recall,
)
from qmoe_fed.federated.updates import Layout, Rejection

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Round:
    """What the server keeps between sending and aggregating."""

    number: int
    asked: dict[int, list[int]]
    layout: Layout
    shared: Tensor


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
        aggregator: Turns updates ``(C, P)`` and weights ``(C,)`` into one update ``(P,)``; None
            for the mean.
        server_step: Turns the aggregate into a step; None to take it as it is.
        mechanisms: Privacy mechanisms; their server halves run here.
        angles: Names of the parameters that are angles, shared or not: their updates, and their
            values after the step, are taken in (-π, π].
        trained_by: Which of the numbers clients train, see ``Rules``.

    Attributes:
        rejections: The clients left out of the last round, and why.
    """

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
        aggregator: Aggregator | None = None,
        server_step: ServerStep | None = None,
        mechanisms: Sequence[Mechanism] = (),
        angles: frozenset[str] = frozenset(),
        trained_by: Callable[[Sequence[int]], Tensor] | None = None,
    ) -> None:
        self.hosts = hosts
        self.num_clients = num_clients
        self.seed = seed
        self.fraction_train = fraction_train
        self.sampling = sampling
        self.limits = limits
        self.quorum = quorum
        self.weighting = weighting
        self.aggregator = aggregator or load_object(AGGREGATORS["mean"], "aggregator")
        self.server_step = server_step or load_object(SERVER_STEPS["plain"], "server step")()
        self.mechanisms = tuple(mechanisms)
        self.angles = angles
        self.trained_by = trained_by
        self.rejections: list[Rejection] = []
        self._step_state: StepState | None = None
        self._round: _Round | None = None

    @property
    def rules(self) -> Rules:
        """The rules of the next round, as the attributes are now."""
        return Rules(
            self.num_clients,
            self.aggregator,
            self.server_step,
            self.seed,
            self.fraction_train,
            self.sampling,
            self.limits,
            self.quorum,
            self.weighting,
            self.mechanisms,
            self.trained_by,
        )

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> list[Message]:
        """Sample clients and return one message per host that has any of them.

        Raises:
            PrivacyBudgetExhausted: A mechanism ends the run before this round.
        """
        sampled = open_round(self.rules, server_round)
        layout = Layout({name: tuple(a.shape) for name, a in arrays.items()}, self.angles)
        shared = layout.flat(to_tensors(arrays))
        self._round = _Round(server_round, self.hosts.group(sampled), layout, shared)
        settings = {**config, ROUND: server_round}
        return cohort_messages(self.hosts, sampled, arrays, settings, MessageType.TRAIN)

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord]:
        """Return the next shared parameters, or None if the round does not count, and metrics.

        Raises:
            UserError: The aggregator or a mechanism returned what is not an update.
        """
        now = self._round
        if now is None or now.number != server_round:
            raise RuntimeError(f"aggregate_train({server_round}) without its configure_train")
        sampled = sum(map(len, now.asked.values()))
        cohort, unread = read_replies(replies, now.asked, now.layout)
        end = close_round(
            self.rules,
            server_round,
            sampled,
            cohort,
            unread,
            now.layout,
            now.shared,
            self._step_state,
        )
        self._step_state, self.rejections = end.step, end.rejections
        for one in end.rejections:
            logger.warning("round %d: client %d left out: %s", server_round, one.client, one.reason)
        if end.fault:
            logger.warning("round %d does not count: %s", server_round, end.fault)
        new = None if end.values is None else to_record(now.layout.parameters(end.values))
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

    def state_dict(self) -> Memory:
        """Return what a resumed run needs besides the shared parameters: numbers and tensors.

        A derived class defines this and ``load_state_dict`` itself, if only as ``state_dict =
        RouterStrategy.state_dict``; otherwise its runs make no checkpoints.
        """
        return memory_of(self._step_state, self.mechanisms)

    def load_state_dict(self, state: Memory) -> None:
        """Go on from a saved state of a strategy with the same parts."""
        self._step_state = recall(state, self.mechanisms)
