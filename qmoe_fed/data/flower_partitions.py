"""Partitions made by flwr-datasets, under its names.

Importing it takes seconds and 250 MB, so that waits until one of these is asked for.
"""

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qmoe_fed.config import DataConfig
from qmoe_fed.errors import UserError

Labels = NDArray[np.int64]
Owners = NDArray[np.int64]


def pathological(labels: Labels, num_clients: int, data: DataConfig, seed: int) -> Owners:
    """Give each client ``classes-per-client`` classes (Li et al., "Federated learning on non-IID
    data silos", 2022); a class is divided equally among the clients that have it."""
    from flwr_datasets.partitioner import PathologicalPartitioner

    partitioner = PathologicalPartitioner(
        num_clients, "label", data.classes_per_client, "first-deterministic", seed=seed
    )
    return _owners(partitioner, labels, data)


def shard(labels: Labels, num_clients: int, data: DataConfig, seed: int) -> Owners:
    """Sort by class, cut into equal shards, deal ``classes-per-client`` shards to each client
    (McMahan et al., "Communication-efficient learning", 2017). A remainder goes to nobody."""
    shards = num_clients * data.classes_per_client
    if shards > len(labels):
        raise UserError(
            f"partition = 'shard': {num_clients} clients with classes-per-client = "
            f"{data.classes_per_client} shards each need {shards} samples, there are {len(labels)}"
        )
    from flwr_datasets.partitioner import ShardPartitioner

    partitioner = ShardPartitioner(num_clients, "label", data.classes_per_client, seed=seed)
    return _owners(partitioner, labels, data)


def inner_dirichlet(labels: Labels, num_clients: int, data: DataConfig, seed: int) -> Owners:
    """Fill clients of equal size one random sample at a time from class proportions drawn from
    Dirichlet(α) (Acar et al., "Dynamic regularization", 2021). The same idea as our own
    ``dirichlet``, but slow, and it fails for small α once classes run out."""
    from flwr_datasets.partitioner import InnerDirichletPartitioner

    sizes = np.bincount(np.arange(len(labels)) % num_clients)
    partitioner = InnerDirichletPartitioner(sizes, "label", data.dirichlet_alpha, seed=seed)
    return _owners(partitioner, labels, data)


def _owners(partitioner: Any, labels: Labels, data: DataConfig) -> Owners:
    """Return the owner of each sample by a partitioner, -1 where nobody has it."""
    from datasets import Dataset

    partitioner.dataset = Dataset.from_dict({"label": labels, "row": np.arange(len(labels))})
    with warnings.catch_warnings():
        # flwr-datasets warns in terms of arguments that are not ours
        warnings.simplefilter("ignore")
        try:
            partitioner.load_partition(0)
        except ValueError as error:
            raise UserError(
                f"partition = {data.partition!r} cannot be made of {len(labels)} samples: {error} "
                "Use fewer clients, other settings, or partition = 'dirichlet', which can always "
                "be made"
            ) from error
    # The partition of every client is known now. load_partition would return it as a Dataset
    # each, which takes milliseconds a client.
    rows = np.array(partitioner.dataset["row"][:])
    owners = np.full(len(labels), -1)
    for client, places in partitioner._partition_id_to_indices.items():
        owners[rows[places]] = client
    return owners
