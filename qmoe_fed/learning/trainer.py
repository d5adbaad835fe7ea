"""Trains K independent replicas of a model: the clients of a cohort, or the seeds of a study."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from qmoe_fed import rng
from qmoe_fed.config import TrainingConfig
from qmoe_fed.data import Samples
from qmoe_fed.learning.devices import DRAW
from qmoe_fed.learning.optimizers import OPTIMIZERS, State
from qmoe_fed.learning.replicas import apply, join, ravel, rows_of, unravel
from qmoe_fed.learning.routing import balancing_loss, routing_weights
from qmoe_fed.models import Mixture, Parameters, angle_names, draw_keys

CHUNK = 2048
"""Replicas trained side by side; more would not fit the processor's cache."""


@dataclass(frozen=True)
class Trained:
    """What training left behind.

    Attributes:
        parameters: All parameters, trained and frozen, ``(K, *shape)`` each.
        state: The optimiser's state, to go on with.
        loss: Mean training loss over all steps, shape ``(K,)``.
    """

    parameters: Parameters
    state: State
    loss: Tensor


@dataclass(frozen=True)
class Task:
    """What is trained, apart from the replicas themselves.

    Attributes:
        model: A module for one replica.
        trainable: Names of the parameters that are trained; the others stay as they are.
        anchored: Names of the parameters that ``proximal-mu`` pulls to their start (FedProx,
            Li et al. 2020).
        settings: Epochs, batch size, optimiser …
        seed: Keys the order of the samples, together with replica and round.
    """

    model: Mixture
    trainable: frozenset[str]
    settings: TrainingConfig
    seed: int
    anchored: frozenset[str] = frozenset()


def train(
    task: Task,
    parameters: Parameters,
    samples: Samples,
    clients: Sequence[int],
    server_round: int = 0,
    state: State | None = None,
    learning_rates: Tensor | None = None,
) -> Trained:
    """Train every replica on its own samples for ``local-epochs`` epochs.

    Replicas may hold different numbers of samples: each passes over its own in
    ⌈count/batch-size⌉ batches per epoch, the last one smaller, and rests when it is done. The
    result of a replica does not depend on the others.

    Args:
        task: What is trained, and how.
        parameters: Initial parameters, ``(K, *shape)`` each.
        samples: Training samples of the K replicas.
        clients: Id of each replica; keys the order of its samples.
        server_round: Round, or epoch of a study; keys the order of the samples.
        state: Optimiser state to go on with; None starts afresh.
        learning_rates: Of each replica, shape ``(K,)``; None for that of the settings.
    """
    if not task.trainable:
        return Trained(parameters, {}, torch.zeros(len(clients), device=samples.x.device))
    chunk = 1 if task.settings.execution == "serial" else CHUNK
    parts = []
    for start in range(0, len(clients), chunk):
        rows = slice(start, start + chunk)
        part_state = None if state is None else rows_of(state, rows)
        part = samples.select(rows)
        rates = None if learning_rates is None else learning_rates[rows]
        parts.append(
            _train_chunk(
                task,
                rows_of(parameters, rows),
                part,
                clients[rows],
                server_round,
                part_state,
                rates,
            )
        )
    if len(parts) == 1:
        return parts[0]
    return Trained(
        join(part.parameters for part in parts),
        join(part.state for part in parts),
        torch.cat([part.loss for part in parts]),
    )


def _train_chunk(
    task: Task,
    parameters: Parameters,
    samples: Samples,
    clients: Sequence[int],
    server_round: int,
    state: State | None,
    learning_rates: Tensor | None,
) -> Trained:
    settings, replicas = task.settings, len(clients)
    task.model.train()
    rate = settings.learning_rate if learning_rates is None else learning_rates[:, None]
    optimizer = OPTIMIZERS[settings.optimizer]
    free = {n: p for n, p in parameters.items() if n in task.trainable}
    frozen = {n: p for n, p in parameters.items() if n not in task.trainable}
    weights = start = ravel(free, replicas)
    decay, pull = _penalties(task, free)
    state = optimizer.init(weights) if state is None else state
    loss_sum = torch.zeros(replicas, device=weights.device)

    for step, (rows, active) in enumerate(_batches(task, samples, clients, server_round)):
        x = samples.x.take_along_dim(rows[..., None], 1)
        y = samples.y.take_along_dim(rows, 1)
        inputs = weights.detach().requires_grad_()
        full = {**unravel(inputs, free), **frozen}
        if DRAW in full:
            full[DRAW] = draw_keys(task.seed, clients, server_round, step).to(x.device)
        loss = _mean_loss(apply(task.model, full, x, settings.execution), y, active)
        if settings.load_balancing:
            routing = routing_weights(task.model, full, x, settings.execution)
            loss = loss + settings.load_balancing * balancing_loss(routing, active)
        (gradient,) = torch.autograd.grad(loss.sum(), inputs)
        gradient = gradient + decay * weights + pull * (weights - start)
        change, new_state = optimizer.step(gradient, state, rate)
        present = active.any(1, keepdim=True)
        weights = torch.where(present, weights + change, weights)
        state = {name: torch.where(present, new, state[name]) for name, new in new_state.items()}
        loss_sum += loss.detach() * active.sum(1)

    steps = settings.local_epochs * samples.counts.clamp(min=1)
    return Trained({**unravel(weights, free), **frozen}, state, loss_sum / steps)


def _penalties(task: Task, free: Parameters) -> tuple[Tensor, Tensor]:
    """Return weight decay and FedProx's μ for each column of the weights, ``(P,)`` each."""
    settings, angles = task.settings, angle_names(task.model)

    def columns(strength: float, applies: Callable[[str], bool]) -> Tensor:
        parts = [p[0].new_full((p[0].numel(),), strength * applies(n)) for n, p in free.items()]
        return torch.cat(parts)

    return (
        columns(settings.weight_decay, lambda name: name not in angles),
        columns(settings.proximal_mu, lambda name: name in task.anchored),
    )


def _batches(
    task: Task, samples: Samples, clients: Sequence[int], server_round: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield row numbers ``(K, B)`` and which of them are real ``(K, B)``, batch by batch."""
    settings = task.settings
    counts = samples.counts.cpu().numpy()
    order = torch.from_numpy(
        rng.permutation(task.seed, "batches", clients, counts, settings.local_epochs, server_round)
    ).to(samples.x.device)
    size = settings.batch_size
    for epoch in range(settings.local_epochs):
        for first in range(0, int(counts.max(initial=0)), size):
            rows = order[:, epoch, first : first + size]
            positions = torch.arange(first, first + rows.shape[1], device=rows.device)
            yield rows, positions < samples.counts[:, None]


def _mean_loss(logits: Tensor, y: Tensor, active: Tensor) -> Tensor:
    """Return the mean cross-entropy over the active samples of each replica, ``(K,)``."""
    losses = cross_entropy(logits.flatten(0, 1), y.flatten(), reduction="none").view(y.shape)
    return (losses * active).sum(1) / active.sum(1).clamp(min=1)
