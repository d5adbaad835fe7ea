"""What each client gets of a pool: the public split set aside, the rest shared out."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray

from qmoe_fed import rng
from qmoe_fed.config import Config, DataConfig
from qmoe_fed.data.partitions import partition
from qmoe_fed.data.pools import read_pool
from qmoe_fed.data.preprocessing import Array, Projection, principal_components
from qmoe_fed.data.samples import Samples
from qmoe_fed.errors import UserError

Index = NDArray[np.int64]

_BLOCK = 4096  # images projected at a time: pixels are bytes, and all of them as floats are large


@dataclass(frozen=True)
class _Shares:
    """A pool as inputs of a mixture, sorted by owner and in random order for each owner.

    Rows that nobody owns come first.

    Attributes:
        x: What mixtures get, see ``Projection.inputs``, shape ``(n, d)``.
        classes: Shape ``(n,)``.
        starts: Client c owns the rows from ``starts[c]`` to ``starts[c + 1]``.
    """

    x: Array
    classes: Index
    starts: Index


@lru_cache(maxsize=8)
def fit(data: DataConfig, data_dir: str, seed: int, features: int) -> Projection:
    """Fit the projection on the public split, which belongs to no client.

    Raises:
        UserError: The public split is larger than the pool or has too few directions.
    """
    x, _ = read_pool(data, data_dir)
    public, _ = _split(len(x), data, seed)
    return principal_components(x[public], features, data.expert_features)


def load(config: Config, clients: Index, projection: Projection) -> tuple[Samples, Samples]:
    """Return what the given clients train on and what they are tested on.

    Raises:
        UserError: The pool cannot be shared out as configured.
    """
    federation = config.federation
    shares = _share_out(
        config.data,
        config.results.data_dir,
        federation.seed,
        federation.num_clients + federation.num_unseen_clients,
        projection,
    )
    starts = shares.starts[clients]
    counts = shares.starts[clients + 1] - starts
    tests = np.rint(counts * config.data.test_fraction).astype(np.int64).clip(1, counts - 1)
    trains = counts - tests
    if most := config.data.max_train_samples:
        trains = trains.clip(max=most)
    train = _gather(shares, starts + tests, trains)
    return train, _gather(shares, starts, tests)


@lru_cache(maxsize=1)
def _share_out(
    data: DataConfig, data_dir: str, seed: int, num_clients: int, projection: Projection
) -> _Shares:
    """Share the pool out; kept, so that a process holds one copy for all clients it hosts."""
    x, y = read_pool(data, data_dir)
    _, private = _split(len(x), data, seed)
    owners = partition(y[private], num_clients, data, seed)
    by_owner = private[np.argsort(owners, kind="stable")]
    blocks = range(0, len(by_owner), _BLOCK)
    return _Shares(
        np.concatenate([projection.inputs(x[by_owner[i : i + _BLOCK]]) for i in blocks]),
        y[by_owner],
        np.searchsorted(np.sort(owners), np.arange(num_clients + 1)),
    )


def _split(size: int, data: DataConfig, seed: int) -> tuple[Index, Index]:
    """Return the public rows and the others of a pool, both in random order."""
    if data.public_samples >= size:
        raise UserError(
            f"public-samples = {data.public_samples}: {data.dataset} with classes = "
            f"{data.classes!r} has {size} samples in all; leave some for the clients"
        )
    order = rng.generator(seed, "public").permutation(size)
    return order[: data.public_samples], order[data.public_samples :]


def _gather(shares: _Shares, starts: Index, counts: Index) -> Samples:
    """Copy ``counts[k]`` rows from ``starts[k]`` on into row k, padded with zeros."""
    place = np.arange(counts.max(initial=0))
    mask = place < counts[:, None]
    rows = np.where(mask, starts[:, None] + place, 0)
    return Samples(
        torch.from_numpy(shares.x[rows] * mask[..., None]),
        torch.from_numpy(shares.classes[rows] * mask),
        torch.from_numpy(counts),
    )
