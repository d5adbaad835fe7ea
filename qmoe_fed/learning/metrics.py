"""What a model gets right, and how its router spreads the work."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from qmoe_fed.data import Samples
from qmoe_fed.learning.replicas import apply
from qmoe_fed.models import Parameters


@dataclass(frozen=True)
class Scores:
    """How K replicas do on their own samples.

    Attributes:
        accuracy: Share of samples classified right, ``(K,)`` in [0, 1].
        loss: Mean cross-entropy, ``(K,)``.
    """

    accuracy: Tensor
    loss: Tensor


def evaluate(
    model: nn.Module, parameters: Parameters, samples: Samples, execution: str = "vmap"
) -> Scores:
    """Score K replicas on their own samples.

    Args:
        model: A module for one replica.
        parameters: All parameters, ``(K, *shape)`` each.
        samples: Samples of the K replicas.
        execution: ``vmap`` or ``serial``.
    """
    model.eval()
    with torch.no_grad():
        logits = apply(model, parameters, samples.x, execution)
        losses = cross_entropy(logits.flatten(0, 1), samples.y.flatten(), reduction="none")
        right = (logits.argmax(-1) == samples.y) & samples.mask
        counts = samples.counts.clamp(min=1)
        loss = (losses.view(samples.y.shape) * samples.mask).sum(1) / counts
        return Scores(right.sum(1) / counts, loss)


def worst_tenth(values: Tensor) -> float:
    """Return the mean of the lowest 10% of the values (at least one of them)."""
    lowest = values.sort().values[: max(1, round(0.1 * len(values)))]
    return float(lowest.double().mean())
