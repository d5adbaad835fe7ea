"""Routing weights estimated from a finite number of measurements."""

import numpy as np
import torch
from torch import Tensor

from qmoe_fed import rng
from qmoe_fed.data import Samples
from qmoe_fed.learning.replicas import apply
from qmoe_fed.learning.routing import routing_weights
from qmoe_fed.models import Mixture, Parameters


def accuracy_with_shots(
    model: Mixture, parameters: Parameters, samples: Samples, shots: int, seed: int, seeds: int
) -> Tensor:
    """Return the accuracy when each sample's weights are frequencies of ``shots`` measurements.

    Outcomes are drawn from the exact probabilities of the experts, noise included; every replica
    and sample has its own.

    Args:
        model: A mixture whose router's weights are probabilities of outcomes.
        parameters: Of E·S replicas, strength first.
        samples: Of the replicas.
        shots: Measurements per sample.
        seed: Keys the outcomes, together with ``shots`` and the replica's seed.
        seeds: Number of seeds S.

    Returns:
        Shape ``(E·S,)``.
    """
    prefix = "experts."
    own = {n.removeprefix(prefix): v for n, v in parameters.items() if n.startswith(prefix)}
    with torch.no_grad():
        exact = routing_weights(model, parameters, samples.x).double().clamp(min=0)
        outputs = apply(model.experts, own, samples.x).double()  # (E·S, M, N, C)
    by_seed = (exact / exact.sum(-1, keepdim=True)).unflatten(0, (-1, seeds)).numpy()
    drawn = [
        rng.generator(seed, f"shots/{shots}", s).multinomial(shots, by_seed[:, s]) / shots
        for s in range(seeds)
    ]
    weights = torch.from_numpy(np.stack(drawn, 1)).flatten(0, 1)  # (E·S, M, N)
    predicted = (weights.unsqueeze(-2) @ outputs).squeeze(-2).argmax(-1)
    return ((predicted == samples.y) & samples.mask).sum(1) / samples.counts
