"""Many clients in pieces, side by side in threads: no client's numbers depend on its piece."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from threading import get_ident
from typing import TypeVar

import torch

from qmoe_fed.federated.model import Model, threads_as_before

Piece = tuple[Model, list[int]]
"""Clients, and the model that they run."""

Made = TypeVar("Made")

SHARES, LEAST = 4, 512
"""Pieces of each thread, so that all end together, and clients in a piece that is worth it."""


def threads_of(model: Model) -> int:
    """Return how many threads clients may be shared out among, by the setting ``threads``.

    One for PennyLane's devices and a user's own modules, which may hold what threads cannot share.
    """
    config = model.config
    own = any(":" in name for name in (config.model.router, config.model.expert))
    simulated = config.model.circuit_engine == "statevector" and config.training.device == "cpu"
    return config.training.threads if simulated and not own else 1


def in_pieces(model: Model, clients: Sequence[int], most: int | None = None) -> list[Piece]:
    """Return clients in pieces of one depth of circuits, so many as threads want, or ``most``."""
    threads, size = threads_of(model), most or len(clients)
    if threads > 1:
        size = min(size, max(LEAST, -(-len(clients) // (SHARES * threads))))
    groups = model.by_depth(clients)
    return [(one, ids[i : i + size]) for one, ids in groups for i in range(0, len(ids), size)]


def side_by_side(pieces: Sequence[Piece], work: Callable[[Model, list[int]], Made]) -> list[Made]:
    """Return what work makes of each piece, in order.

    Each thread runs models of its own, since to run one is to put parameters into its module, and
    torch has one thread within each.
    """
    threads = min(threads_of(pieces[0][0]), len(pieces)) if pieces else 1
    if threads == 1:
        return [work(*piece) for piece in pieces]
    models: dict[tuple[int, int], Model] = {}

    def run(piece: Piece) -> Made:
        model, ids = piece
        config = replace(model.config, training=replace(model.config.training, threads=1))
        own = models.setdefault((get_ident(), model.layers), replace(model, config=config))
        return work(own, ids)

    with threads_as_before(), ThreadPoolExecutor(threads) as pool:
        torch.set_num_threads(1)
        return list(pool.map(run, pieces))
