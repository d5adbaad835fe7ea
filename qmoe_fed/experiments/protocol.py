"""How a model is fitted in a study: many seeds in one tensor program, each stopped early.

The trainer is the one that trains clients, one epoch at a time. After each epoch every replica is
scored on its own validation samples; one whose validation loss has not improved for ``patience``
epochs rests while the others go on. What a replica learnt is its parameters of the epoch with the
lowest validation loss. Test samples have no way in.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from qmoe_fed.config import TrainingConfig
from qmoe_fed.config.settings import Section, between, setting
from qmoe_fed.data import Samples
from qmoe_fed.learning import Task, evaluate, train
from qmoe_fed.learning.replicas import rows_of
from qmoe_fed.learning.solving import Solve
from qmoe_fed.models import Mixture, Parameters


@dataclass(frozen=True)
class Protocol(Section):
    """How long and in which steps a model is fitted; the optimiser is Adam (paper, section V-A)."""

    seed: int = setting(0, between(0))  # of all randomness; a study's seeds are streams of it
    batch_size: int = setting(32, between(1))
    max_epochs: int = setting(100, between(1))
    patience: int = setting(20, between(1))  # epochs without a lower validation loss


@dataclass(frozen=True, eq=False)
class Fit:
    """P fitted replicas.

    Attributes:
        parameters: Of each replica's best epoch, ``(P, *shape)`` each.
        best_epoch: Epoch with the lowest validation loss, counted from 1, shape ``(P,)``.
        train_loss: Mean loss while training, by epoch, shape ``(P, E)``; NaN after a replica has
            stopped. Validation loss and accuracy have the same shape.
    """

    parameters: Parameters
    best_epoch: Tensor
    train_loss: Tensor
    validation_loss: Tensor
    validation_accuracy: Tensor

    @property
    def best_loss(self) -> Tensor:
        """Lowest validation loss of each replica, shape ``(P,)``."""
        return self.validation_loss.nan_to_num(nan=torch.inf).amin(1)


def fit(
    model: Mixture,
    start: Parameters,
    train_samples: Samples,
    validation: Samples,
    seeds: Sequence[int],
    learning_rates: Tensor,
    protocol: Protocol,
    trainable: frozenset[str] | None = None,
    solve: Solve | None = None,
) -> Fit:
    """Fit P replicas of a model side by side; the result of one does not depend on the others.

    Args:
        model: A module for one replica.
        start: Initial parameters, ``(P, *shape)`` each.
        train_samples: Of the replicas, as are the samples for validation.
        validation: When to stop is decided on these.
        seeds: Seed of each replica; keys the order of its samples. Replicas may share one.
        learning_rates: Of the replicas, shape ``(P,)``.
        protocol: When to stop, and more.
        trainable: Names of the parameters to fit; None for all.
        solve: How experts are solved, on the training samples; None: they are fitted like the rest.
    """
    settings = TrainingConfig(
        local_epochs=1, batch_size=protocol.batch_size, weight_decay=0.0, proximal_mu=0.0
    )
    names = frozenset(start) if trainable is None else trainable
    task = Task(model, names, settings, protocol.seed)
    if solve:
        task = replace(task, loss=solve.loss)
    active = torch.arange(len(seeds))  # those that have not stopped
    curves = torch.full((3, len(active), protocol.max_epochs), torch.nan)
    best_loss = torch.full((len(active),), torch.inf)
    best_epoch = torch.zeros(len(active), dtype=torch.int64)
    best = {name: values.clone() for name, values in start.items()}
    parameters, state = start, None
    for epoch in range(1, protocol.max_epochs + 1):
        ids, rates = [seeds[int(i)] for i in active], learning_rates[active]
        own = train_samples.select(active)
        trained = train(task, parameters, own, ids, epoch, state, rates)
        mixtures = solve.mixtures(model, trained.parameters, own) if solve else trained.parameters
        scores = evaluate(model, mixtures, validation.select(active))
        curves[:, active, epoch - 1] = torch.stack([trained.loss, scores.loss, scores.accuracy])

        better = scores.loss < best_loss[active]
        improved = active[better]
        best_loss[improved], best_epoch[improved] = scores.loss[better], epoch
        for name, values in trained.parameters.items():
            best[name][improved] = values[better]

        going = epoch - best_epoch[active] < protocol.patience
        active = active[going]
        if not len(active):
            break
        parameters, state = rows_of(trained.parameters, going), rows_of(trained.state, going)
    if solve:
        best = solve.mixtures(model, best, train_samples)
    return Fit(best, best_epoch, *curves)
