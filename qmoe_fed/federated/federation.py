"""A federation you can call: plain Python on tensors.

::

    federation = Federation(Config.from_flat({"num-clients": 20}))
    state = federation.init()
    for _ in range(5):
        state, report = federation.round(state)
    federation.score(state).columns["accuracy"].mean()
"""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace

from qmoe_fed.config import Config
from qmoe_fed.data import Projection, are_apart, example, fit_projection, load_clients, settle
from qmoe_fed.errors import UserError
from qmoe_fed.federated.build import ROUTER, make_rules
from qmoe_fed.federated.hidden import OneHost, Sum, Wire, hidden_cohort, hidden_sum
from qmoe_fed.federated.host import Host, Kept
from qmoe_fed.federated.mechanism import Mechanism
from qmoe_fed.federated.model import Model
from qmoe_fed.federated.rules import Metrics, StepState, close_round, open_round
from qmoe_fed.federated.sizes import check_host, check_server
from qmoe_fed.federated.trial import try_module
from qmoe_fed.federated.unseen import check_unseen
from qmoe_fed.federated.updates import ClientTable, Cohort, Rejection
from qmoe_fed.models import Parameters


@dataclass(frozen=True)
class State:
    """Where a federation stands: a value that no round changes.

    Attributes:
        shared: Shared parameters, ``(*shape)`` float32 each.
        round: Rounds run.
        counted: Rounds whose updates were aggregated.
        kept: What is private of the clients; None where other processes keep it.
        step: State of the server step; None before the first round that counts, and where a
            strategy keeps it.
        mechanisms: The server's mechanisms with what they remember; as ``step``.
        vault: What the host of all clients keeps for sums that hide who sent what.
    """

    shared: Parameters
    round: int = 0
    counted: int = 0
    kept: Kept | None = None
    step: StepState | None = None
    mechanisms: Sequence[Mechanism] = ()
    vault: Wire = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class Report:
    """What happened in a round.

    Attributes:
        counted: Whether the shared parameters are new.
        metrics: What is reported: numbers, and lists of client ids.
        rejections: The clients left out, and why.
        fault: Why the round does not count, if that is known.
        hopeless: Whether all hosts failed when they were asked last.
    """

    counted: bool
    metrics: Metrics
    rejections: list[Rejection] = field(default_factory=list)
    fault: str = ""
    hopeless: bool = False


class Federation:
    """All clients of a run in this process; nothing is printed or written.

    A round is a function of the state: rounds replayed from one state give the same numbers, but
    for noise that a mechanism takes from the system (``noise-source``).

    Args:
        config: The run.

    Attributes:
        config: The run.
        model: Its mixture, and which parameters travel.
        host: The host of all clients.

    Raises:
        UserError: The settings cannot work, or name a strategy of Flower's.
    """

    def __init__(self, config: Config) -> None:
        if config.strategy.strategy != ROUTER:
            raise UserError(
                f"strategy = {config.strategy.strategy!r} needs Flower's messages: call a "
                f"federation with strategy = {ROUTER!r}, or run it with qmoe-fed run"
            )
        self.config = config = settle(config)
        self.model = Model(config)
        check_host(config, config.federation.num_clients)
        projection = prepare(self.model)
        self.rules = make_rules(config)
        self.host = Host(self.model, tuple(self.rules.mechanisms), projection)
        if are_apart(config):
            self.host.check_data()

    def init(self) -> State:
        """Return the state before the first round."""
        shared, mechanisms = self.model.initial_shared(), deepcopy(self.rules.mechanisms)
        return State(shared, kept=self.host.start(), mechanisms=mechanisms)

    def round(self, state: State) -> tuple[State, Report]:
        """Run one round; return the state after it and what happened.

        Raises:
            PrivacyBudgetExhausted: Flower's exception: a mechanism ends the run before the round.
            UserError: An aggregator or a mechanism returned what is not an update.
        """
        number, layout, kept = state.round + 1, self.model.layout, self._kept(state)
        rules = replace(self.rules, mechanisms=deepcopy(state.mechanisms))
        sampled, cohort = open_round(rules, number), Cohort.of_nobody(layout.size)
        unread: Sequence[Rejection] = ()
        if sampled:
            kept, cohort = self.host.train(kept, state.shared, sampled, number)
        if hidden := hidden_sum(rules.mechanisms):
            place = OneHost(hidden, state.vault, self.host.clients, (state.shared, cohort))
            what = Sum("train", number, state.shared, sampled)
            cohort, unread = hidden_cohort(hidden, rules, what, layout, place)
            state = replace(state, vault=place.vault)
        shared = layout.flat(state.shared).cpu()
        end = close_round(rules, number, len(sampled), cohort, unread, layout, shared, state.step)
        if counted := end.values is not None:
            device = self.config.training.device
            new = {n: v.to(device) for n, v in layout.parameters(end.values).items()}
            state = replace(state, shared=new, counted=state.counted + 1)
        state = replace(state, round=number, kept=kept, step=end.step, mechanisms=rules.mechanisms)
        return state, Report(counted, end.metrics, end.rejections, end.fault)

    def score(self, state: State) -> ClientTable:
        """Score all clients: accuracy, loss, routing-entropy, load-i of each expert i."""
        kept, clients = self._kept(state), self.host.clients
        return self.host.score(kept, state.shared, clients, state.round)

    def mixtures(self, state: State) -> Parameters:
        """Return all parameters of the clients' mixtures, ``(K, *shape)`` each, experts solved."""
        own = self.host.private(self._kept(state), state.shared)
        every = self.model.replicas(state.shared, own, self.host.clients)
        return {name: v for name, v in every.items() if not name.startswith("fit.")}

    def routing(self, state: State) -> ClientTable:
        """Return all clients' expert loads by class, see ``routing_summary``."""
        kept, clients = self._kept(state), self.host.clients
        return self.host.routing(kept, state.shared, clients, state.round)

    def unseen(self, state: State) -> ClientTable:
        """Fit and test the clients that never took part; no rows if the run has none."""
        unseen = self.config.federation.unseen_clients
        return self.host.unseen(state.shared, unseen) if unseen else ClientTable()

    def _kept(self, state: State) -> Kept:
        if state.kept is None:
            raise ValueError("this state is not one of a federation in one process")
        return state.kept


def prepare(model: Model) -> Projection:
    """Return how a run turns raw inputs into angles, once nothing is known to stand in its way.

    Raises:
        UserError: The settings cannot work.
    """
    config, federation = model.config, model.config.federation
    check_server(config)
    projection = fit_projection(config)
    try_module(model, example(config, projection))
    if not are_apart(config):  # else each host looks after its own
        unseen = federation.unseen_clients
        check_unseen(config, load_clients(config, unseen, projection).train.counts)
    return projection
