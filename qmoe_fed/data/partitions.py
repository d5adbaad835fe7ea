"""Who owns which sample of a pool.

A partition takes the labels of the pool, the number of clients and the settings, and returns the
owner of each sample. Clients of any size are fine, but each needs two samples: one to train on,
one to be tested on.
"""

import inspect
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qmoe_fed import rng
from qmoe_fed.config import DataConfig
from qmoe_fed.config.sections import FLOWERS
from qmoe_fed.config.settings import parse_options
from qmoe_fed.errors import UserError, unknown

Labels = NDArray[np.int64]
Owners = NDArray[np.int64]
"""Client id of each sample, -1 for nobody's, shape ``(n,)``."""

Columns = Mapping[str, NDArray[Any]]

SMALLEST_SHARE = 2
NO_COLUMNS: Columns = {}


def partition(
    labels: Labels, num_clients: int, data: DataConfig, seed: int, columns: Columns = NO_COLUMNS
) -> Owners:
    """Return the owner of each sample by the configured partition.

    Labels are the class of each sample ``(n,)``; unseen clients are among the clients. Flower's
    partitioners may name further columns ``(n,)``.

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
    if data.partition.startswith(FLOWERS):
        owners = by_name(labels, num_clients, data, columns)
    else:
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
    alphas = np.full(len(stock), data.dirichlet_alpha)
    proportions = generator.dirichlet(alphas, size=num_clients)
    owners = np.empty(len(labels), np.int64)
    places = generator.permutation(np.arange(len(labels)) % num_clients)  # each one's client
    while len(places):
        left = np.array([len(samples) for samples in stock])
        wanted = _ask(proportions, left, places, generator)
        turned_away = []
        for c, samples in enumerate(stock):
            asking = places[wanted == c]
            served = asking[: left[c]]
            owners[samples[: len(served)]] = served
            stock[c] = samples[len(served) :]
            turned_away.append(asking[left[c] :])
        places = np.concatenate(turned_away)
    return owners


def _ask(
    proportions: NDArray[np.float64], left: Labels, places: Labels, generator: np.random.Generator
) -> Labels:
    """Draw a class that is left for each place; whose client wants none of them takes any."""
    possible = proportions * (left > 0)
    weights = np.where(possible.sum(1, keepdims=True) > 0, possible, left)[places]
    cumulative = weights.cumsum(1)
    cumulative /= cumulative[:, -1:]
    return (generator.random((len(places), 1)) >= cumulative).sum(1)


_OURS = {"iid": iid, "dirichlet": dirichlet, "concept-shift": iid}
"""With ``concept-shift`` clients differ in what they call the classes."""


def by_flower(labels: Labels, num_clients: int, data: DataConfig, seed: int) -> Owners:
    """Return the owner of each sample by the partitioner that ``partition`` names.

    ``pathological``: each client gets ``classes-per-client`` classes, and a class is divided
    equally among the clients that have it (Li et al., "Federated learning on non-IID data silos",
    2022). ``shard``: samples are sorted by class and cut into equal shards, ``classes-per-client``
    of which go to each client (McMahan et al., "Communication-efficient learning", 2017); a
    remainder goes to nobody. ``inner-dirichlet``: clients of equal size are filled one random
    sample at a time from class proportions drawn from Dirichlet(α) (Acar et al., "Dynamic
    regularization", 2021); the same idea as our own ``dirichlet``, but slow, and it fails for small
    α once classes run out.

    Raises:
        UserError: It cannot be made of so few samples.
    """
    each = data.classes_per_client
    if data.partition == "shard" and num_clients * each > len(labels):
        raise UserError(
            f"partition = 'shard': {num_clients} clients with classes-per-client = {each} shards "
            f"each need {num_clients * each} samples, there are {len(labels)}"
        )
    # Importing them takes seconds and 250 MB, so that waits until they are asked for.
    from datasets import Dataset
    from flwr_datasets import partitioner as flower

    if data.partition == "pathological":
        order = "first-deterministic"
        partitioner = flower.PathologicalPartitioner(num_clients, "label", each, order, seed=seed)
    elif data.partition == "shard":
        partitioner = flower.ShardPartitioner(num_clients, "label", each, seed=seed)
    else:
        sizes, alpha = np.bincount(np.arange(len(labels)) % num_clients), data.dirichlet_alpha
        partitioner = flower.InnerDirichletPartitioner(sizes, "label", alpha, seed=seed)
    partitioner.dataset = Dataset.from_dict({"label": labels, "row": np.arange(len(labels))})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of arguments that are not ours
        try:
            partitioner.load_partition(0)
        except ValueError as error:
            raise UserError(
                f"partition = {data.partition!r} cannot be made of {len(labels)} samples: {error} "
                "Use fewer clients, other settings, or partition = 'dirichlet', which can always "
                "be made"
            ) from error
    # load_partition would return each client's as a Dataset, which takes milliseconds
    rows = np.array(partitioner.dataset["row"][:])
    owners = np.full(len(labels), -1)
    for client, places in partitioner._partition_id_to_indices.items():
        owners[rows[places]] = client
    return owners


def by_name(labels: Labels, num_clients: int, data: DataConfig, columns: Columns) -> Owners:
    """Return the owner of each sample by the partitioner of flwr-datasets after ``flwr:``.

    It sees a table with the columns ``label`` (classes) and ``row`` and those given, and gets
    ``partition-options`` and, if it takes one, the number of clients. Partitions from
    ``num_clients`` on belong to nobody.

    Raises:
        UserError: There is no such partitioner, or it fails.
    """
    from datasets import Dataset
    from flwr_datasets import partitioner as flower

    name = data.partition.removeprefix(FLOWERS)
    if name not in flower.__all__:
        raise unknown("partitioner of flwr-datasets", name, flower.__all__)
    kind = vars(flower)[name]
    options = parse_options("partition-options", data.partition_options)
    if "num_partitions" in inspect.signature(kind).parameters:
        options = {"num_partitions": num_clients, **options}
    owners = np.full(len(labels), -1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of arguments that are not ours
        try:
            made = kind(**options)
            made.dataset = Dataset.from_dict(
                {**columns, "label": labels, "row": np.arange(len(labels))}
            )
            for client in range(min(num_clients, made.num_partitions)):
                owners[np.array(made.load_partition(client)["row"][:], np.int64)] = client
        except Exception as error:  # of a partitioner: of many kinds
            told = f"partition = {data.partition!r}, partition-options = {data.partition_options!r}"
            raise UserError(f"{told}: {type(error).__name__}: {error}".splitlines()[0]) from error
    return owners
