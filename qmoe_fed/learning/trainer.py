"""Trains K independent replicas of a model: the clients of a cohort, or the seeds of a study."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from qmoe_fed import rng
from qmoe_fed.config import TrainingConfig
from qmoe_fed.data import Samples
from qmoe_fed.learning.devices import DRAWS
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


Loss = Callable[[Mixture, Parameters, Samples, Tensor, str], Tensor]
"""(model, parameters, the samples of a step, uniform numbers ``(K,)``, execution) → ``(K,)``."""


def mean_cross_entropy(
    model: Mixture, parameters: Parameters, step: Samples, _: Tensor, execution: str
) -> Tensor:
    """Return the mean cross-entropy over the samples of each replica, ``(K,)``."""
    return cross_entropy_of(model, parameters, step, step.mask, execution)


def cross_entropy_of(
    model: Mixture, parameters: Parameters, step: Samples, active: Tensor, execution: str
) -> Tensor:
    """Return the mean cross-entropy over the samples marked True ``(K, B)``, ``(K,)``."""
    logits = apply(model, parameters, step.x, execution)
    losses = cross_entropy(logits.flatten(0, 1), step.y.flatten(), reduction="none")
    return (losses.view(active.shape) * active).sum(1) / active.sum(1).clamp(min=1)


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
        loss: What a step minimises.
    """

    model: Mixture
    trainable: frozenset[str]
    settings: TrainingConfig
    seed: int
    anchored: frozenset[str] = frozenset()
    loss: Loss = mean_cross_entropy


def train(
    task: Task,
    parameters: Parameters,
    samples: Samples,
    clients: Sequence[int],
    server_round: int = 0,
    state: State | None = None,
    learning_rates: Tensor | None = None,
    anchor: Parameters | None = None,
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
        anchor: What ``proximal-mu`` pulls to, ``(K, *shape)`` each; None for the initial ones.
    """
    if not task.trainable:
        return Trained(parameters, {}, torch.zeros(len(clients), device=samples.x.device))
    serial, parts = task.settings.execution == "serial", []
    chunk = 1 if serial else CHUNK
    for start in range(0, len(clients), chunk):
        rows = slice(start, start + chunk)
        part_state = None if state is None else rows_of(state, rows)
        part = samples.select(rows)
        rates = None if learning_rates is None else learning_rates[rows]
        held = None if anchor is None else rows_of(anchor, rows)
        chance = _seeded(task, clients[start], server_round, part) if serial else nullcontext()
        with chance:
            parts.append(
                _train_chunk(
                    task,
                    rows_of(parameters, rows),
                    part,
                    clients[rows],
                    server_round,
                    part_state,
                    rates,
                    held,
                )
            )
    if len(parts) == 1:
        return parts[0]
    return Trained(
        join(part.parameters for part in parts),
        join(part.state for part in parts),
        torch.cat([part.loss for part in parts]),
    )


@contextmanager
def _seeded(task: Task, client: int, server_round: int, samples: Samples) -> Iterator[None]:
    """Have what a module draws from torch's own generator, e.g. Dropout, follow from the seed."""
    device, stream = samples.x.device, rng.generator(task.seed, "module", client, server_round)
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(int(stream.integers(2**63)))
        yield


def _train_chunk(
    task: Task,
    parameters: Parameters,
    samples: Samples,
    clients: Sequence[int],
    server_round: int,
    state: State | None,
    learning_rates: Tensor | None,
    anchor: Parameters | None,
) -> Trained:
    settings, replicas = task.settings, len(clients)
    task.model.train()
    rate = settings.learning_rate if learning_rates is None else learning_rates[:, None]
    optimizer = OPTIMIZERS[settings.optimizer]
    free = {n: p for n, p in parameters.items() if n in task.trainable}
    frozen = {n: p for n, p in parameters.items() if n not in task.trainable}
    weights = ravel(free, replicas)
    held = weights if anchor is None else ravel({name: anchor[name] for name in free}, replicas)
    decay, pull = _penalties(task, free)
    state = optimizer.init(weights) if state is None else state
    loss_sum = torch.zeros(replicas, device=weights.device)

    for number, (step, draws) in enumerate(_steps(task, samples, clients, server_round)):
        active = step.mask
        inputs = weights.detach().requires_grad_()
        full = {**unravel(inputs, free), **frozen}
        if own := [name for name in DRAWS if name in full]:
            keys = draw_keys(task.seed, clients, server_round, number).to(active.device)
            full |= dict.fromkeys(own, keys)
        loss = task.loss(task.model, full, step, draws, settings.execution)
        if settings.load_balancing:
            routing = routing_weights(task.model, full, step.x, settings.execution)
            loss = loss + settings.load_balancing * balancing_loss(routing, active)
        (gradient,) = torch.autograd.grad(loss.sum(), inputs)
        gradient = gradient + decay * weights + pull * (weights - held)
        change, new_state = optimizer.step(gradient, state, rate)
        present = active.any(1, keepdim=True)
        weights = torch.where(present, weights + change, weights)
        state = {name: torch.where(present, new, state[name]) for name, new in new_state.items()}
        loss_sum += loss.detach() * active.sum(1)

    steps = settings.local_epochs * samples.counts.clamp(min=1)
    return Trained({**unravel(weights, free), **frozen}, state, loss_sum / steps)


def _penalties(task: Task, free: Parameters) -> tuple[Tensor, Tensor]:
    """Return weight decay and FedProx's μ for each column of the weights, ``(P,)`` each."""
    settings = task.settings
    decayed = {name for name, _ in task.model.named_parameters()} - angle_names(task.model)

    def columns(strength: float, applies: Callable[[str], bool]) -> Tensor:
        parts = [p[0].new_full((p[0].numel(),), strength * applies(n)) for n, p in free.items()]
        return torch.cat(parts)

    return (
        columns(settings.weight_decay, lambda name: name in decayed),
        columns(settings.proximal_mu, lambda name: name in task.anchored),
    )


def _steps(
    task: Task, samples: Samples, clients: Sequence[int], server_round: int
) -> Iterator[tuple[Samples, Tensor]]:
    """Yield the samples of each step, in random order, and a uniform number ``(K,)`` for it."""
    settings, device = task.settings, samples.x.device
    counts, epochs = samples.counts.cpu().numpy(), settings.local_epochs
    order = torch.from_numpy(
        rng.permutation(task.seed, "batches", clients, counts, epochs, server_round)
    ).to(device)
    size = settings.batch_size
    starts = range(0, int(counts.max(initial=0)), size)
    for epoch in range(epochs):
        # One stream per epoch: a client's numbers must not depend on the longest beside it.
        uniform = rng.uniform(task.seed, f"support/{epoch}", clients, (len(starts),), server_round)
        draws = torch.from_numpy(uniform).float().to(device)
        for first, draw in zip(starts, draws.T, strict=True):
            rows = order[:, epoch, first : first + size]
            x, y = samples.x.take_along_dim(rows[..., None], 1), samples.y.take_along_dim(rows, 1)
            yield Samples(x, y, (samples.counts - first).clamp(0, rows.shape[1])), draw
