"""A host: it trains, scores and keeps the rows of many clients, in one tensor program each."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from qmoe_fed.data import ClientData, Projection, load_clients
from qmoe_fed.federated.hidden import HiddenSum, hidden_sum
from qmoe_fed.federated.mechanism import Mechanism, protect
from qmoe_fed.federated.model import Model
from qmoe_fed.federated.training import LocalUpdate, score_clients, train_clients
from qmoe_fed.federated.unseen import check_unseen, fit_unseen
from qmoe_fed.federated.updates import ClientTable, Cohort
from qmoe_fed.federated.workers import in_pieces, side_by_side
from qmoe_fed.learning import Scores
from qmoe_fed.learning.optimizers import OPTIMIZERS, State
from qmoe_fed.learning.replicas import expand, join, ravel, rows_of
from qmoe_fed.learning.trainer import CHUNK
from qmoe_fed.models import Parameters, wrap


@dataclass(frozen=True)
class Kept:
    """What a host keeps of its clients between rounds, one row each; it is never sent.

    Attributes:
        local: Parameters that are not shared, ``(k, *shape)``.
        optimizer: State of the optimiser, ``(k, …)``; empty if the run does not keep it, or before
            the first round.
    """

    local: Parameters
    optimizer: State


@dataclass(frozen=True, eq=False)
class Host:
    """Host ``number`` of ``total``: clients c with c mod total = number live here.

    It remembers nothing of the rounds: what it keeps is handed in and out.

    Attributes:
        model: The run's model.
        mechanisms: Privacy mechanisms, as they are before the first round; their client halves
            run here, on every client's update before it leaves.
        projection: Turns raw inputs into angles.
        number: 0 … total - 1.
        total: Number of hosts in the federation.
    """

    model: Model
    mechanisms: tuple[Mechanism, ...]
    projection: Projection
    number: int = 0
    total: int = 1

    @property
    def clients(self) -> range:
        """Ids of the training clients that live here, ascending."""
        return range(self.number, self.model.config.federation.num_clients, self.total)

    @cached_property
    def hidden(self) -> HiddenSum | None:
        """The mechanism through which alone clients' rows leave, if there is one."""
        return hidden_sum(self.mechanisms)

    @cached_property
    def _own(self) -> ClientData:
        return self._load(self.clients)

    @property
    def keeps(self) -> bool:
        """Whether something of its clients would be lost with it."""
        return bool(self.model.local or self.model.config.training.keep_optimizer_state)

    def _load(self, clients: Sequence[int]) -> ClientData:
        config = self.model.config
        return load_clients(config, clients, self.projection).to(config.training.device)

    def _rows(self, clients: Sequence[int]) -> Tensor | slice:
        """Return the rows of clients among those that live here."""
        if len(clients) == len(self.clients):
            return slice(None)
        return (torch.tensor(clients) - self.number) // self.total

    def check_data(self) -> None:
        """Load all that the clients have that live here, those too that never train.

        Raises:
            UserError: Something is wrong with it.
        """
        config = self.model.config
        unseen = [c for c in config.federation.unseen_clients if c % self.total == self.number]
        if self._own and unseen:
            check_unseen(config, self._load(unseen).train.counts)

    def start(self) -> Kept:
        """Return what is kept before the first round."""
        return Kept(self.model.initial(self.model.local, self.clients), {})

    def train(
        self,
        kept: Kept,
        shared: Parameters,
        clients: Sequence[int],
        server_round: int,
        proximal_mu: float | None = None,
    ) -> tuple[Kept, Cohort]:
        """Train some of the clients; return what is kept now, and the updates that may leave.

        Args:
            kept: What is kept of all clients that live here.
            shared: Shared parameters, ``(*shape)`` each.
            clients: Ids of those to train, at least one.
            server_round: The round.
            proximal_mu: Takes the place of the config's ``proximal-mu``.
        """
        own, start, cohorts = self._own, kept, []

        def train(model: Model, ids: Sequence[int]) -> LocalUpdate:
            rows = self._rows(ids)
            local, state = rows_of(start.local, rows), rows_of(start.optimizer, rows) or None
            place = ids, server_round
            return train_clients(model, own.select(rows), shared, local, *place, state, proximal_mu)

        pieces = in_pieces(self.model, clients)
        for (_, ids), update in zip(pieces, side_by_side(pieces, train), strict=True):
            kept = self._remember(kept, self._rows(ids), update)
            numbers = update.updates, update.examples, update.loss
            cohorts.append(Cohort(tuple(ids), *(values.cpu().double() for values in numbers)))
        cohort = Cohort.join(cohorts)
        seed = self.model.config.federation.seed
        updates = protect(self.mechanisms, cohort.updates, clients, server_round, seed)
        updates = updates.float().double()  # float32 leaves a host
        if self.hidden:  # nobody can do it later
            trained, is_angle = self.model.trained_by(clients), self.model.layout.is_angle
            updates = torch.where(is_angle, wrap(updates), updates) * trained
        return kept, replace(cohort, updates=updates)

    def _remember(self, kept: Kept, rows: Tensor | slice, update: LocalUpdate) -> Kept:
        """Return what is kept once some clients have trained."""
        optimizer: State = {}
        if self.model.config.training.keep_optimizer_state:
            old = kept.optimizer or expand(self.fresh_state(), len(self.clients))
            optimizer = _put(old, rows, update.state)
        return Kept(_put(kept.local, rows, update.local), optimizer)

    def fresh_state(self) -> State:
        """Return the state of a client's optimiser before its first step; empty if none is kept."""
        if not self.model.config.training.keep_optimizer_state:
            return {}
        weights = ravel(self.model.initial(self.model.names, range(1)), 1)
        state = OPTIMIZERS[self.model.config.training.optimizer].init(weights)
        return {name: values[0] for name, values in state.items()}

    def private(self, kept: Kept, shared: Parameters) -> Parameters:
        """Return what belongs to the clients alone, one row each, with experts that are solved.

        Empty if they share all they have.
        """
        if not self.model.solve:
            return kept.local

        def experts(model: Model, ids: Sequence[int]) -> Parameters:
            rows = self._rows(ids)
            replicas = model.replicas(shared, rows_of(kept.local, rows), ids)
            mixtures = model.mixtures(replicas, self._own.select(rows).train)
            return {n: v for n, v in mixtures.items() if n.startswith("experts.")}

        return {**kept.local, **self._by_depth(self.clients, experts)}

    def score(
        self, kept: Kept, shared: Parameters, clients: Sequence[int], server_round: int = 0
    ) -> ClientTable:
        """Score some of the clients: accuracy, loss, routing-entropy, load-i of each expert i.

        And train-samples and test-samples, how many they have. Devices are as in the round.
        """

        def columns(model: Model, ids: Sequence[int]) -> dict[str, Tensor]:
            scores, load, entropy = self._scores(model, kept, shared, ids, server_round)
            loads = {f"load-{i}": column for i, column in enumerate(load.sum(-1).T)}
            names = {"accuracy": scores.accuracy, "loss": scores.loss, "routing-entropy": entropy}
            own = self._own.select(self._rows(ids))
            sizes = {"train-samples": own.train.counts, "test-samples": own.test.counts}
            return {**names, **loads, **sizes}

        return self._table(clients, columns)

    def routing(
        self, kept: Kept, shared: Parameters, clients: Sequence[int], server_round: int = 0
    ) -> ClientTable:
        """Return the loads by class: cell-j, expert by expert, the classes of each side by side."""

        def columns(model: Model, ids: Sequence[int]) -> dict[str, Tensor]:
            _, load, _ = self._scores(model, kept, shared, ids, server_round)
            return {f"cell-{j}": cell for j, cell in enumerate(load.flatten(1).T)}

        return self._table(clients, columns)

    def _scores(
        self,
        model: Model,
        kept: Kept,
        shared: Parameters,
        clients: Sequence[int],
        server_round: int,
    ) -> tuple[Scores, Tensor, Tensor]:
        rows = self._rows(clients)
        local, own = rows_of(kept.local, rows), self._own.select(rows)
        return score_clients(model, own, shared, local, clients, server_round)

    def unseen(self, shared: Parameters, clients: Sequence[int]) -> ClientTable:
        """Fit and test clients that never took part: accuracies shared-m, scratch-m, random-m."""

        def columns(model: Model, ids: Sequence[int]) -> dict[str, Tensor]:
            kinds = fit_unseen(model, self._load(ids), shared, ids).items()
            return {f"{kind}-{m}": rows for kind, by_size in kinds for m, rows in by_size.items()}

        return self._table(clients, columns)

    def _table(
        self,
        clients: Sequence[int],
        columns: Callable[[Model, Sequence[int]], dict[str, Tensor]],
    ) -> ClientTable:
        values = self._by_depth(clients, columns).items()
        return ClientTable(torch.tensor(clients), {n: v.cpu().double() for n, v in values})

    def _by_depth(
        self, clients: Sequence[int], make: Callable[[Model, Sequence[int]], dict[str, Tensor]]
    ) -> dict[str, Tensor]:
        """Return what is made of clients, a row each: at most ``CHUNK`` of one depth together.

        So a million clients take no more memory at a time than the first few thousand.
        """
        pieces = in_pieces(self.model, clients, CHUNK)
        order = torch.tensor([client for _, ids in pieces for client in ids]).argsort()
        return rows_of(join(side_by_side(pieces, make)), order)


def _put(old: Parameters, rows: Tensor | slice, new: Parameters) -> Parameters:
    """Return the old rows with some replaced."""
    if isinstance(rows, slice):
        return new
    return {name: old[name].index_copy(0, rows.to(v.device), v) for name, v in new.items()}
