"""Labelled samples in memory, checked row by row: the one form of all data that users bring."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any
from weakref import WeakSet

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qmoe_fed.errors import UserError

PUBLIC = -1
"""Client id of samples that belong to nobody: the server fits the projection on them."""

MEMORY = "memory:"
HALVES = {"train": False, "test": True, "0": False, "1": True, "False": False, "True": True}


@dataclass(frozen=True, eq=False)
class Table:
    """Labelled samples, and whose they are if that is known.

    ::

        table = Table(x, y)  # to be shared out as ``partition`` says, or Table(x, y, client)
        config = Config.from_flat({"dataset": table.name, "num-clients": 20})

    A run finds the samples by ``name`` as long as the table is kept, in this process only.

    Attributes:
        x: Numbers, given in shape ``(n, *shape)``, kept as ``(n, D)``: uint8 or float32.
        y: Labels, whole numbers or text, given in shape ``(n,)``; kept as numbers 0 … C-1.
        client: Whose each is, ``(n,)``: ids from 0 on and -1 for the public ones, or names and
            ``"public"``, numbered in the order of the alphabet. None: nobody's yet.
        test: Whether each is one to be tested on, ``(n,)``; None: ``test-fraction`` of each
            client's are. If none is, clients only train.
        origin: What the samples are called in messages.
        columns: Further columns ``(n,)`` by name, for partitioners.
        labels: The labels in order, as text; row y[i] is of class ``labels[y[i]]``.
        named: Whether clients were given by name.

    Raises:
        UserError: Something is wrong with a row; the message says which (the first is 1) and why.
    """

    x: NDArray[Any]
    y: NDArray[Any]
    client: NDArray[Any] | None = None
    test: NDArray[Any] | None = None
    origin: str = "the samples given"
    columns: Mapping[str, NDArray[Any]] = field(default_factory=dict, repr=False)
    labels: tuple[str, ...] = field(init=False)
    named: bool = field(init=False, default=False)

    def __post_init__(self) -> None:
        x = _inputs(self.x, self.origin)
        keys, y = _keys(self.y, "label", self.origin)
        fixed: dict[str, Any] = {"x": x, "y": y, "labels": tuple(map(str, keys.tolist()))}
        if self.client is not None:
            fixed["client"], fixed["named"] = _clients(self.client, self.origin)
        if self.test is not None:
            halves, places = _keys(self.test, "split", self.origin)
            known = [str(half) in HALVES for half in halves.tolist()]
            self.refuse(~np.array(known, bool)[places], "split is neither 'train' nor 'test'")
            tests = [HALVES[str(half)] for half in halves.tolist()]
            fixed["test"] = np.array(tests, bool)[places]
        for name, values in fixed.items():
            object.__setattr__(self, name, values)
        for name in ("y", "client", "test"):
            if (column := vars(self)[name]) is not None and len(column) != len(x):
                told = f"{len(x)} samples, but {len(column)} entries of {name}"
                raise UserError(f"{self.origin}: {told}; each sample needs one")

    def refuse(self, bad: NDArray[np.bool_], reason: str) -> None:
        """Raise a UserError if any row is bad."""
        _refuse(self.origin, bad, reason)

    def classes(self, labels: tuple[str, ...]) -> NDArray[np.int64]:
        """Return the class of each sample: the place of its label among ``labels``.

        Raises:
            UserError: A label is none of them.
        """
        place = np.array([labels.index(n) if n in labels else -1 for n in self.labels], np.int64)
        classes = place[self.y]
        strange = [name for name in self.labels if name not in labels][:1]
        named = ", ".join(labels[:20]) + ", …" * (len(labels) > 20)
        self.refuse(classes < 0, f"the label {strange[0] if strange else ''} is none of: {named}")
        return classes

    @cached_property
    def name(self) -> str:
        """What ``dataset`` calls these samples; tables with the same content have the same."""
        digest = hashlib.sha256(repr((self.x.shape, self.x.dtype, self.labels)).encode())
        for column in (self.x, self.y, self.client, self.test):
            digest.update(b"-" if column is None else column.tobytes())
        _HELD.add(self)
        return MEMORY + digest.hexdigest()[:16]


_HELD: WeakSet[Table] = WeakSet()


def held(name: str) -> Table:
    """Return the table of a name; UserError if there is none (any more) in this process."""
    for table in _HELD:
        if table.name == name:
            return table
    raise UserError(
        f"dataset = {name!r}: these samples were in the memory of another process, or are gone; "
        "keep the Table while it is in use, or use a file"
    )


def join(
    clients: Sequence[int], tables: Sequence[Table], origin: str, labels: tuple[str, ...]
) -> Table:
    """Return the tables of some clients, one each, as one; ``labels`` are those in use.

    Raises:
        UserError: They do not go together, or one has samples of another client or label.
    """
    for client, table in zip(clients, tables, strict=True):
        if labels and client != PUBLIC:
            table.classes(labels)
        if table.client is not None:
            table.refuse(table.client != client, f"the client is not {client}")
        if table.x.shape[1:] != tables[0].x.shape[1:]:
            first = tables[0].x.shape[1]
            raise UserError(
                f"{table.origin}: {table.x.shape[1]} features, where others have {first}"
            )
        if (table.test is None) != (tables[0].test is None):
            raise UserError(f"{table.origin}: a split into train and test at some clients only")
    tests = [table.test for table in tables if table.test is not None]
    return Table(
        np.concatenate([table.x for table in tables]),
        np.concatenate([np.array(table.labels)[table.y] for table in tables]),
        np.repeat(clients, [len(table.x) for table in tables]),
        np.concatenate(tests) if tests else None,
        origin,
    )


def _refuse(origin: str, bad: NDArray[np.bool_], reason: str) -> None:
    if bad.any():
        count = int(bad.sum())
        more = f" (and so in {count - 1} more rows)" if count > 1 else ""
        raise UserError(f"{origin}, row {bad.argmax() + 1}: {reason}{more}")


def _array(values: ArrayLike, what: str, origin: str) -> NDArray[Any]:
    try:
        return np.asarray(values)
    except ValueError as error:  # rows of different length
        raise UserError(f"{origin}: {what} of unequal length ({error})") from error


def _inputs(x: ArrayLike, origin: str) -> NDArray[Any]:
    """Return the inputs as a read-only ``(n, D)``."""
    array = _array(x, "rows of x", origin)
    if array.dtype.kind not in "biuf":
        raise UserError(f"{origin}: x holds {array.dtype.name}, expected numbers")
    if array.ndim < 2 or not array.size:
        raise UserError(f"{origin}: x has shape {array.shape}, expected (samples, features, …)")
    array = array.reshape(len(array), -1)
    with np.errstate(over="ignore"):
        own = np.array(array, np.uint8 if array.dtype == np.uint8 else np.float32)
    if own.dtype != np.uint8:
        _refuse(origin, np.isnan(own).any(1), "a feature is missing or not a number (NaN)")
        _refuse(origin, np.isinf(own).any(1), "a feature is infinite, or above 3e38")
    own.setflags(write=False)
    return own


def _keys(values: ArrayLike, what: str, origin: str) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Return the different values, whole numbers or text, in order; and which each entry is."""
    array = _array(values, f"rows of {what}", origin)
    if array.ndim != 1:
        raise UserError(f"{origin}: {what} has shape {array.shape}, expected one per sample")
    if array.dtype.kind in "OUT":
        array = np.array(["" if v is None or v != v else str(v) for v in array.tolist()], "U")
        _refuse(origin, np.char.strip(array) == "", f"the {what} is missing")
        _refuse(origin, np.char.find(array, ",") >= 0, f"the {what} has a comma in it")
    elif array.dtype.kind == "f":
        _refuse(origin, np.isnan(array), f"the {what} is missing")
        off = (array != np.round(array)) | (np.abs(array) > 2**53)
        _refuse(origin, off, f"the {what} is no whole number")
        array = array.astype(np.int64)
    elif array.dtype.kind not in "biu":
        raise UserError(f"{origin}: {what} holds {array.dtype.name}, expected numbers or text")
    keys, places = np.unique(array, return_inverse=True)
    return keys, places.astype(np.int64)


def _clients(client: ArrayLike, origin: str) -> tuple[NDArray[np.int64], bool]:
    """Return the id of each sample's client, and whether these are numbered names."""
    keys, places = _keys(client, "client", origin)
    if keys.dtype.kind == "U":
        names = [name for name in keys.tolist() if name != "public"]
        ids = {"public": PUBLIC, **{name: i for i, name in enumerate(names)}}
        return np.array([ids[name] for name in keys.tolist()], np.int64)[places], True
    _refuse(origin, (keys < PUBLIC)[places], "the client is below 0 (-1: a public sample)")
    _refuse(origin, (keys > 2**40)[places], "the client is above 2^40")
    return keys.astype(np.int64)[places], False
