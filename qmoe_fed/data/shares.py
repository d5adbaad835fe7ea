"""What each client gets of a pool: the public split set aside, the rest shared out."""

from collections.abc import Hashable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from qmoe_fed import rng
from qmoe_fed.config import Config, DataConfig, values
from qmoe_fed.data import own
from qmoe_fed.data.partitions import partition
from qmoe_fed.data.pools import read_pool
from qmoe_fed.data.preprocessing import Array, Projection, fit_angles
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
        starts: Owner i has the rows from ``starts[i]`` to ``starts[i + 1]``.
        tests: How many of each owner's rows, its first, are to be tested on; None: as
            ``test-fraction`` says.
    """

    x: Array
    classes: Index
    starts: Index
    tests: Index | None = None


@lru_cache(maxsize=8)
def fit(
    data: DataConfig, data_dir: str, seed: int, features: int, _stamp: Hashable = None
) -> Projection:
    """Fit the projection on the public split, which belongs to no client, or on stated bounds.

    Raises:
        UserError: The public split is larger than the pool, has too few directions, or there is
            none.
    """
    if data.own and (ends := values.box(data.angles)):
        x: NDArray[Any] = np.repeat(np.array(ends)[:, None], features, 1)
    elif own.is_apart(data, data_dir):
        x = own.public(data, data_dir)
    else:
        pool, _ = read_pool(data, data_dir)
        x = pool[_split(len(pool), data, seed)[0]]
    return fit_angles(x, features, data.angles, data.expert_features)


def load(config: Config, clients: Index, projection: Projection) -> tuple[Samples, Samples]:
    """Return what the given clients train on and what they are tested on.

    Raises:
        UserError: The pool cannot be shared out as configured, or a client's own samples cannot
            be had.
    """
    federation, data, data_dir = config.federation, config.data, config.results.data_dir
    if own.is_apart(data, data_dir):
        shares, owners = _own_shares(config, clients, projection)
    else:
        total = federation.num_clients + federation.num_unseen_clients
        stamp = own.stamp(data, data_dir)
        shares = _share_out(data, data_dir, federation.seed, total, projection, stamp)
        owners = clients
    starts = shares.starts[owners]
    counts = shares.starts[owners + 1] - starts
    if shares.tests is not None:
        tests = shares.tests[owners]
    else:
        tests = np.rint(counts * data.test_fraction).astype(np.int64).clip(1, counts - 1)
    trains = counts - tests
    if most := data.max_train_samples:
        trains = trains.clip(max=most)
    train = _gather(shares, starts + tests, trains)
    return train, _gather(shares, starts, tests)


@lru_cache(maxsize=1)
def _share_out(
    data: DataConfig,
    data_dir: str,
    seed: int,
    num_clients: int,
    projection: Projection,
    _stamp: Hashable,
) -> _Shares:
    """Share the pool out; kept, so that a process holds one copy for all clients it hosts."""
    x, y = read_pool(data, data_dir)
    _, private = _split(len(x), data, seed)
    columns = own.table(data, data_dir).columns if data.own else {}
    beside = {name: values[private] for name, values in columns.items()}
    owners = partition(y[private], num_clients, data, seed, beside)
    by_owner = private[np.argsort(owners, kind="stable")]
    starts = np.searchsorted(np.sort(owners), np.arange(num_clients + 1))
    return _Shares(_projected(x, by_owner, projection), y[by_owner], starts)


def _projected(x: NDArray[Any], rows: Index, projection: Projection) -> Array:
    blocks = range(0, len(rows), _BLOCK)
    return np.concatenate([projection.inputs(x[rows[i : i + _BLOCK]]) for i in blocks])


def _own_shares(config: Config, clients: Index, projection: Projection) -> tuple[_Shares, Index]:
    """Return the samples that some clients have from the start, and which owner each of them is.

    Those to train on are put in random order, for files are often sorted by label.
    """
    data, who = config.data, np.unique(clients)
    table = own.table(data, config.results.data_dir, who.tolist())
    if (size := len(projection.mean)) and table.x.shape[1] != size:
        raise UserError(f"{table.origin}: {table.x.shape[1]} features, where the server has {size}")
    assert table.client is not None  # see is_apart
    here = np.flatnonzero(np.isin(table.client, who))
    here = here[np.argsort(table.client[here], kind="stable")]
    ids = np.searchsorted(who, table.client[here])
    test = np.zeros(len(ids), bool) if table.test is None else table.test[here]
    counts, tests = (np.bincount(i, minlength=len(who)) for i in (ids, ids[test]))
    split = table.test is not None
    untested = (tests == 0) & (split and bool(test.any()))
    if len(short := np.flatnonzero((counts - tests < (1 if split else 2)) | untested)):
        i = short[0]
        told = f"{counts[i]} samples" + f", {tests[i]} of them to be tested on" * split
        needs = "each client needs one to train on and one to be tested on"
        raise UserError(f"{table.origin}: client {who[i]} has {told}; {needs}")
    keys = rng.uniform(config.federation.seed, "own/order", who, (int(counts.max(initial=0)),))
    mixed = keys[np.arange(keys.shape[1]) < counts[:, None]] * ~test
    here = here[np.lexsort((mixed, ~test, ids))]
    starts = np.append(0, counts.cumsum())
    classes = table.classes(tuple(map(str, data.labels)) or table.labels)[here]
    shares = _Shares(
        _projected(table.x, here, projection), classes, starts, tests if split else None
    )
    return shares, np.searchsorted(who, clients)


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
