"""What travels between the parties: numbers and bytes by name, read with suspicion."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from qmoe_fed.federated.hidden import Refused, Wire


def entry(wire: Wire, name: str, size: int) -> NDArray[np.uint8]:
    """Return the bytes of one entry, shape ``(rows, size)``.

    Raises:
        Refused: It is missing, or is not a whole number of rows.
    """
    raw = wire.get(name)
    if not isinstance(raw, bytes) or len(raw) % size:
        raise Refused(f"message without readable {name!r}: expected rows of {size} bytes")
    return np.frombuffer(raw, dtype=np.uint8).reshape(-1, size)


def ids_of(wire: Wire, name: str, clients: int) -> list[int]:
    """Return a list of client ids.

    Raises:
        Refused: They are not below ``clients``, or not strictly ascending: one named twice would
            be counted twice.
    """
    ids = entry(wire, name, 4).view("<u4")[:, 0].astype(np.int64)
    if len(ids) and (ids[-1] >= clients or (np.diff(ids) <= 0).any()):
        raise Refused(f"{name!r}: expected ids below {clients}, ascending, none named twice")
    return ids.tolist()


def id_bytes(ids: Sequence[int]) -> bytes:
    """Return client ids as four bytes each; undone by ``ids_of``."""
    return np.asarray(ids, dtype="<u4").tobytes()


def joined(wires: Sequence[Wire], names: dict[str, int], by: str, clients: int) -> Wire:
    """Return the rows of several messages as one, ascending by the ids in entry ``by``.

    Args:
        wires: The messages.
        names: Bytes per row of each entry but ``by``.
        by: The entry with the ids.
        clients: Ids are below it.

    Raises:
        Refused: A message is malformed, or two speak for the same client.
    """
    parts = []
    for wire in wires:
        ids = np.asarray(ids_of(wire, by, clients), dtype="<u4").view(np.uint8).reshape(-1, 4)
        columns = [ids, *(entry(wire, name, size) for name, size in names.items())]
        if len({len(column) for column in columns}) > 1:
            raise Refused(f"entries {[by, *names]} speak of different numbers of clients")
        parts.append(np.hstack(columns))
    rows = np.concatenate(parts) if parts else np.zeros((0, 4 + sum(names.values())), np.uint8)
    rows = rows[np.argsort(rows[:, :4].copy().view("<u4")[:, 0], kind="stable")]
    edges = np.cumsum([4, *names.values()])[:-1]
    split = zip([by, *names], np.split(rows, edges, axis=1), strict=True)
    result: Wire = {name: column.tobytes() for name, column in split}
    ids_of(result, by, clients)
    return result
