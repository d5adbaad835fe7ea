"""Partitions made by flwr-datasets, under its names."""

import warnings

import numpy as np
from numpy.typing import NDArray

from qmoe_fed.config import DataConfig
from qmoe_fed.errors import UserError

Labels = NDArray[np.int64]
Owners = NDArray[np.int64]
"""Client id of each sample, -1 for nobody's, shape ``(n,)``."""


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
