"""Who owns which sample of a pool.

A partition takes the labels of the pool, the number of clients and the settings, and returns the
owner of each sample. Clients of any size are fine, but each needs two samples: one to train on,
one to be tested on.
"""

import numpy as np
from numpy.typing import NDArray

from qmoe_fed import rng
from qmoe_fed.config import DataConfig
from qmoe_fed.data.flower_partitions import Labels, Owners, by_flower
from qmoe_fed.errors import UserError

SMALLEST_SHARE = 2


def partition(labels: Labels, num_clients: int, data: DataConfig, seed: int) -> Owners:
    """Return the owner of each sample by the configured partition.

    Args:
        labels: Class of each sample, shape ``(n,)``.
        num_clients: Number of clients, unseen ones included.

    Raises:
        UserError: The pool is too small for so many clients, or the partition leaves some client
            with fewer than two samples.
    """
    largest = len(labels) // SMALLEST_SHARE
    if num_clients > largest:
        raise UserError(
            f"num-clients + num-unseen-clients = {num_clients}: {data.dataset} with classes = "
            f"{data.classes!r} leaves {len(labels)} samples beside the public-samples = "
            f"{data.public_samples}, and each client needs {SMALLEST_SHARE} (one to train on, "
            f"one to be tested on), so at most {largest} clients"
        )
    owners = _OURS.get(data.partition, by_flower)(labels, num_clients, data, seed)
    smallest = np.bincount(owners[owners >= 0], minlength=num_clients).min()
    if smallest < SMALLEST_SHARE:
        raise UserError(
            f"partition = {data.partition!r} leaves a client with {smallest} of "
            f"{len(labels)} samples; each of {num_clients} clients needs {SMALLEST_SHARE}. Use "
            "fewer clients, or partition = 'iid' or 'dirichlet', which give all clients the same "
            "number"
        )
    return owners


def iid(labels: Labels, num_clients: int, data: DataConfig, seed: int) -> Owners:
    """Deal the samples out at random, the same number (±1) to each client."""
    generator = rng.generator(seed, "partition/iid")
    return generator.permutation(np.arange(len(labels)) % num_clients)


def dirichlet(labels: Labels, num_clients: int, data: DataConfig, seed: int) -> Owners:
    """Give each client class proportions of its own, drawn from a symmetric Dirichlet(α).

    All clients get the same number of samples (±1), as in Hsu, Qi & Brown, "Measuring the effects
    of non-identical data distribution" (2019). Every place asks for a class drawn from its
    client's proportions; those whose class has run out ask again among the classes that are left.
    Each round serves all or empties a class, so it ends for any α and any labels.
    """
    generator = rng.generator(seed, "partition/dirichlet")
    stock = [generator.permutation(np.flatnonzero(labels == c)) for c in range(labels.max() + 1)]
    alpha = np.full(len(stock), data.dirichlet_alpha)
    proportions = generator.dirichlet(alpha, size=num_clients)

    owners = np.empty(len(labels), np.int64)
    places = generator.permutation(np.arange(len(labels)) % num_clients)  # each one's client
    while len(places):
        left = np.array([len(samples) for samples in stock])
        wanted = _draw(_among(proportions, left)[places], generator)
        turned_away = []
        for c, samples in enumerate(stock):
            asking = places[wanted == c]
            served = asking[: left[c]]
            owners[samples[: len(served)]] = served
            stock[c] = samples[len(served) :]
            turned_away.append(asking[left[c] :])
        places = np.concatenate(turned_away)
    return owners


def _among(proportions: NDArray[np.float64], left: Labels) -> NDArray[np.float64]:
    """Return the proportions of the classes that are left; who wants none of them takes any."""
    possible = proportions * (left > 0)
    return np.where(possible.sum(1, keepdims=True) > 0, possible, left)


def _draw(weights: NDArray[np.float64], generator: np.random.Generator) -> Labels:
    """Draw a column per row in proportion to the row's weights."""
    cumulative = weights.cumsum(1)
    cumulative /= cumulative[:, -1:]
    return (generator.random((len(weights), 1)) >= cumulative).sum(1)


_OURS = {"iid": iid, "dirichlet": dirichlet, "concept-shift": iid}
"""With ``concept-shift`` clients differ in what they call the classes."""
