"""Data of a user's own, by what ``dataset`` says.

Most sources are **whole**: they hold all samples there are here. Client ids beside the samples are
used as they are; without them it is a pool that ``partition`` shares out. Of a folder, or of a
function of client ids, only the clients asked for are read.
"""

import inspect
from collections.abc import Callable, Hashable, Sequence
from dataclasses import replace
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qmoe_fed.config import Config, DataConfig, call, load_object
from qmoe_fed.config.settings import expanded
from qmoe_fed.config.values import FILES
from qmoe_fed.data import files, hub
from qmoe_fed.data.table import MEMORY, PUBLIC, Table, held, join
from qmoe_fed.errors import UserError

PREFIX = "files:"

Reader = Callable[[Sequence[int]], list[Table]]
"""Reads the tables of the clients asked for."""


def path_of(data: DataConfig, data_dir: str) -> Path | None:
    """Return the file or folder that ``dataset`` names, below ``data-dir``; None if none."""
    name = data.dataset.removeprefix(PREFIX)
    if name == data.dataset and (":" in name or not name.endswith(FILES)):
        return None
    return expanded("data-dir", data_dir).absolute() / expanded("dataset", name)


def stamp(data: DataConfig, data_dir: str) -> Hashable:
    """Return what changes when the file or function does that ``dataset`` names."""
    if path := path_of(data, data_dir):
        if not path.exists():
            return None
        return path, path.stat().st_mtime_ns, path.stat().st_size
    return load_object(data.dataset, "dataset") if _is_function(data) else None


def is_apart(data: DataConfig, data_dir: str) -> bool:
    """Return whether each client's samples are its own from the start: there is no pool."""
    if not data.own:
        return False
    return _reader(data, data_dir) is not None or table(data, data_dir).client is not None


def table(data: DataConfig, data_dir: str, clients: Sequence[int] = ()) -> Table:
    """Return a whole table, or that of the clients asked for.

    Raises:
        UserError: It cannot be had, or a row is wrong.
    """
    if data.dataset.startswith(MEMORY):
        return held(data.dataset)
    if read := _reader(data, data_dir):
        return join(clients, read(clients), data.dataset, tuple(map(str, data.labels)))
    return _whole(data.dataset, data.label_column, data_dir, stamp(data, data_dir))


@lru_cache(maxsize=1)
def _whole(dataset: str, label: str, data_dir: str, _stamp: Hashable) -> Table:
    kind, _, name = dataset.partition(":")
    if path := path_of(DataConfig(dataset), data_dir):
        return files.read(path, label)
    if kind in hub.READERS:
        return hub.READERS[kind](name, label)
    return _given(call(f"dataset {dataset!r}", load_object(dataset, "dataset")), dataset)


def _given(given: Any, origin: str) -> Table:
    if isinstance(given, Table):
        return given
    if not isinstance(given, tuple) or not 2 <= len(given) <= 4:
        raise UserError(f"{origin}: expected (x, y), (x, y, client), (x, y, client, test), a Table")
    x, y, client, test = (*given, None, None)[:4]
    return Table(x, y, client, test, origin)


def _is_function(data: DataConfig) -> bool:
    kind, colon, _ = data.dataset.partition(":")
    return bool(colon) and f"{kind}:" not in (PREFIX, MEMORY) and kind not in hub.READERS


def _reader(data: DataConfig, data_dir: str) -> Reader | None:
    """Return what reads the tables of clients; None where there is a whole table."""
    if (path := path_of(data, data_dir)) and data.dataset.endswith("/"):
        return lambda clients: [files.read_client(path, data.label_column, c) for c in clients]
    if path or not _is_function(data):
        return None
    function = load_object(data.dataset, "dataset")
    if not callable(function):
        raise UserError(f"dataset {data.dataset!r} is no function")
    if not inspect.signature(function).parameters:
        return None

    def read(clients: Sequence[int]) -> list[Table]:
        ids = [*map(int, clients)]
        most = len(ids) + 1
        given = call(f"dataset {data.dataset!r}", lambda: [*islice(function(ids), most)])
        if len(given) != len(ids):
            raise UserError(f"{data.dataset}: {len(given)} entries for {len(ids)} clients")
        pairs = zip(ids, given, strict=True)
        return [_given(own, f"{data.dataset}, client {client}") for client, own in pairs]

    return read


def public(data: DataConfig, data_dir: str) -> NDArray[Any]:
    """Return the public samples ``(p, D)``, where clients have samples of their own.

    Raises:
        UserError: There are fewer than two.
    """
    whole = table(data, data_dir, [PUBLIC])
    x = whole.x[whole.client == PUBLIC]
    if len(x) < 2:
        raise UserError(
            f"{whole.origin} has {len(x)} public samples (of client -1 or 'public'), on which "
            f"angles = {data.angles!r} is fitted; add some that belong to nobody, or state angles "
            "= 'bounds(low, high)'"
        )
    return x


def raw_size(data: DataConfig, data_dir: str) -> int:
    """Return D, the number of raw features of a sample."""
    path = path_of(data, data_dir)
    first = files.any_client(path) if path and data.dataset.endswith("/") else PUBLIC
    return table(data, data_dir, [first]).x.shape[1]


def settle(config: Config) -> Config:
    """Return the settings with ``classes`` as the data have them, where these are a user's own.

    Raises:
        UserError: The data cannot be read, have one class only, or are not all here.
    """
    data, data_dir, federation = config.data, config.results.data_dir, config.federation
    if not data.own or data.labels:
        return config
    name_them = "name all labels, e.g. classes = 'cat,dog'"
    if _reader(data, data_dir):
        raise UserError(f"classes = 'all': nobody sees all samples of {data.dataset}; {name_them}")
    whole = table(data, data_dir)
    clients = np.arange(federation.num_clients + federation.num_unseen_clients)
    if whole.client is not None and len(missing := np.setdiff1d(clients, whole.client)):
        raise UserError(
            f"{whole.origin} has no samples of client {missing[0]}: num-clients + "
            f"num-unseen-clients = {len(clients)}, there are {len({*whole.client} - {PUBLIC})}; if "
            f"other hosts have them, {name_them}"
        )
    if len(whole.labels) < 2:
        raise UserError(f"{whole.origin}: all samples have the label {whole.labels[0]}")
    return replace(config, data=replace(data, classes=",".join(whole.labels)))
