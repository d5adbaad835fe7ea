"""Local training and scoring: the rows of many clients at once, without any memory of them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from qmoe_fed.data import ClientData, shape_of
from qmoe_fed.federated.model import Model
from qmoe_fed.learning import Scores, evaluate, train
from qmoe_fed.learning.optimizers import State
from qmoe_fed.learning.replicas import choose, ravel
from qmoe_fed.learning.routing import load_by_class, mean_entropy, routing_weights
from qmoe_fed.models import Parameters, wrap


@dataclass(frozen=True)
class LocalUpdate:
    """What a round of local training yields, one row per client.

    Attributes:
        updates: Local minus shared values, ``(k, P)`` float64; differences of angles in (-π, π],
            unless the norm of the row before was above ``max-update-norm``, so that it is seen.
        local: New values of the parameters that stay, ``(k, *shape)``; the old ones where a
            client's training diverged, so that it can take part again.
        state: Optimiser state; where training diverged the old one, or that of a start.
        examples: Number of training samples, ``(k,)``.
        loss: Mean training loss, ``(k,)``.
    """

    updates: Tensor
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
    task = model.task(model.names)
    if proximal_mu is not None:
        task = replace(task, settings=replace(task.settings, proximal_mu=proximal_mu))
    start = model.replicas(shared, local, clients, server_round)
    trained = train(task, start, data.train, clients, server_round, state)
    moved = ravel({n: trained.parameters[n] - shared[n] for n in model.shared}, len(clients))
    norms = torch.linalg.vector_norm(moved.double(), dim=1, keepdim=True)
    small = norms <= model.max_update_norm
    updates = torch.where(small & model.layout.is_angle.to(moved.device), wrap(moved), moved)
    finite = ravel(trained.parameters, len(clients)).isfinite().all(1)
    new_local = choose(finite, {name: trained.parameters[name] for name in model.local}, local)
    old_state = state or {name: torch.zeros_like(v) for name, v in trained.state.items()}
    new_state = choose(finite, trained.state, old_state)
    return LocalUpdate(updates.double(), new_local, new_state, data.train.counts, trained.loss)


def score_clients(
    model: Model,
    data: ClientData,
    shared: Parameters,
    local: Parameters,
    clients: Sequence[int],
    server_round: int = 0,
) -> tuple[Scores, Tensor, Tensor]:
    """Score clients on their own test samples with the shared and their local parameters.

    Their devices are as they are in the round.

    Returns:
        The scores, each client's expert load by class p(e, c | k) ``(k, N, C)``, and the mean
        entropy of its routing weights ``(k,)``, in bits.
    """
    test, execution = data.test, model.config.training.execution
    model.module.eval()
    parameters = model.mixtures(model.replicas(shared, local, clients, server_round), data.train)
    scores = evaluate(model.module, parameters, test, execution)
    with torch.no_grad():
        weights = routing_weights(model.module, parameters, test.x, execution)
    load = load_by_class(weights, test, shape_of(model.config).classes)
    return scores, load, mean_entropy(weights, test)
