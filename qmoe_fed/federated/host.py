"""What happens on one SuperNode: the clients it hosts, their data, and their private parameters.

Everything here works on the rows of many clients at once and knows nothing of messages.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from qmoe_fed.config import Config
from qmoe_fed.data import ClientData, shape_of
from qmoe_fed.errors import UserError
from qmoe_fed.learning import Scores, Task, evaluate, train
from qmoe_fed.learning.optimizers import State
from qmoe_fed.learning.replicas import choose, expand, ravel
from qmoe_fed.learning.routing import load_by_class, mean_entropy, routing_weights
from qmoe_fed.models import Mixture, Parameters, angle_names, build_model, initial_parameters, wrap


@dataclass(frozen=True)
class Model:
    """The mixture of a run, and which of its parameters travel.

    Attributes:
        config: The run.
    """

    config: Config

    @cached_property
    def module(self) -> Mixture:
        """A module for one client; its own parameters are never used."""
        device = self.config.training.device
        if device.startswith("cuda") and not torch.cuda.is_available():
            raise UserError(f"device = {device!r}: torch finds no GPU here; use device = 'cpu'")
        torch.set_num_threads(self.config.training.threads)
        shape = shape_of(self.config)
        module = build_model(self.config.model, shape.features, shape.classes)
        return module.to(device)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Names of all parameters, in order."""
        return tuple(name for name, _ in self.module.named_parameters())

    @cached_property
    def shared(self) -> tuple[str, ...]:
        """Names of the parameters that travel, as ``share`` says."""
        share = self.config.federation.share
        groups = {"router": ("router.",), "experts": ("experts.",), "all": ("",), "none": ()}
        return tuple(name for name in self.names if name.startswith(groups[share]))

    @cached_property
    def local(self) -> tuple[str, ...]:
        """Names of the parameters that stay with the client."""
        return tuple(name for name in self.names if name not in self.shared)

    @cached_property
    def angles(self) -> frozenset[str]:
        """Names of the parameters that are angles."""
        return angle_names(self.module)

    def initial(self, names: Sequence[str], clients: Sequence[int]) -> Parameters:
        """Return the initial values of some parameters, one row per client."""
        shape = shape_of(self.config)
        full = initial_parameters(
            lambda: build_model(self.config.model, shape.features, shape.classes),
            self.config.federation.seed,
            clients,
        )
        return {name: full[name].to(self.config.training.device) for name in names}

    def task(self, trainable: Sequence[str]) -> Task:
        """Return the training task for some of the parameters."""
        return Task(
            self.module,
            frozenset(trainable),
            self.config.training,
            self.config.federation.seed,
            frozenset(self.shared),
        )


@dataclass(frozen=True)
class LocalUpdate:
    """What a round of local training yields, one row per client.

    Attributes:
        updates: Local minus shared value of each shared parameter, ``(k, *shape)``; differences
            of angles in (-π, π].
        local: New values of the parameters that stay, ``(k, *shape)``; the old ones where a
            client's training diverged, so that it can take part again.
        state: Optimiser state; where training diverged the old one, or that of a start.
        examples: Number of training samples, ``(k,)``.
        loss: Mean training loss, ``(k,)``.
    """

    updates: Parameters
    local: Parameters
    state: State
    examples: Tensor
    loss: Tensor


def train_clients(
    model: Model,
    data: ClientData,
    shared: Parameters,
    local: Parameters,
    clients: Sequence[int],
    server_round: int,
    state: State | None = None,
    proximal_mu: float | None = None,
) -> LocalUpdate:
    """Train some clients from the shared parameters and their own local ones.

    Args:
        model: The run's model.
        data: The clients' samples.
        shared: Shared parameters, ``(*shape)`` each.
        local: The clients' own parameters, ``(k, *shape)`` each.
        clients: Their ids.
        server_round: The round.
        state: Optimiser state to go on with, if the run keeps it.
        proximal_mu: Takes the place of the config's ``proximal-mu``.
    """
    parameters = {**expand(shared, len(clients)), **local}
    task = model.task(model.names)
    if proximal_mu is not None:
        task = replace(task, settings=replace(task.settings, proximal_mu=float(proximal_mu)))
    trained = train(task, parameters, data.train, clients, server_round, state)
    differences = {name: trained.parameters[name] - shared[name] for name in model.shared}
    updates = {
        name: wrap(values) if name in model.angles else values
        for name, values in differences.items()
    }
    finite = ravel(trained.parameters, len(clients)).isfinite().all(1)
    new_local = choose(finite, {name: trained.parameters[name] for name in model.local}, local)
    old_state = state or {name: torch.zeros_like(v) for name, v in trained.state.items()}
    new_state = choose(finite, trained.state, old_state)
    return LocalUpdate(updates, new_local, new_state, data.train.counts, trained.loss)


def score_clients(
    model: Model, data: ClientData, shared: Parameters, local: Parameters
) -> tuple[Scores, Tensor, Tensor]:
    """Score clients on their own test samples with the shared and their local parameters.

    Returns:
        The scores, each client's expert load by class p(e, c | k) ``(k, N, C)``, and the mean
        entropy of its routing weights ``(k,)``, in bits.
    """
    test, execution = data.test, model.config.training.execution
    parameters = {**expand(shared, len(test.counts)), **local}
    scores = evaluate(model.module, parameters, test, execution)
    with torch.no_grad():
        weights = routing_weights(model.module, parameters, test.x, execution)
    load = load_by_class(weights, test, shape_of(model.config).classes)
    return scores, load, mean_entropy(weights, test)
