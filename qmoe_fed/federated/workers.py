"""Many clients in pieces, side by side in threads: no client's numbers depend on its piece."""

import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from threading import get_ident
from typing import TypeVar

import torch

from qmoe_fed.federated.model import Model

Piece = tuple[Model, list[int]]
"""Clients, and the model that they run."""

Made = TypeVar("Made")

SHARES, LEAST = 4, 512
"""Pieces of each thread, if there are several, so that they end together; clients in a piece."""


def threads_of(model: Model) -> int:
    """Return how many threads clients may be shared out among.

    One, whatever the settings say, for PennyLane's devices and a user's own modules: they may hold
    something that threads would have in common.
    """
    config = model.config
    own = any(":" in name for name in (config.model.router, config.model.expert))
    simulated = config.model.circuit_engine == "statevector" and config.training.device == "cpu"
    return config.training.threads if simulated and not own else 1


def in_pieces(model: Model, clients: Sequence[int], most: int | None = None) -> list[Piece]:
    """Return clients in pieces of one depth of circuits: as many as threads want, or ``most``."""
    threads, size = threads_of(model), most or len(clients)
    if threads > 1:
        size = min(size, max(LEAST, math.ceil(len(clients) / (SHARES * threads))))
    pieces = []
    for one, ids in model.by_depth(clients):
        pieces += [(one, ids[i : i + size]) for i in range(0, len(ids), size)]
    return pieces


def side_by_side(pieces: Sequence[Piece], work: Callable[[Model, list[int]], Made]) -> list[Made]:
    """Return what work makes of each piece, in order.

    Each thread runs a model of its own, since to run one is to put parameters into its module.
    """
    threads = min(threads_of(pieces[0][0]), len(pieces)) if pieces else 1
    if threads == 1:
        return [work(*piece) for piece in pieces]
    config = pieces[0][0].config
    alone = replace(config, training=replace(config.training, threads=1))
    models: dict[tuple[int, int], Model] = {}

    def run(piece: Piece) -> Made:
        model, ids = piece
        own = models.setdefault((get_ident(), model.layers), replace(model, config=alone))
        return work(own, ids)

    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        with ThreadPoolExecutor(threads) as pool:
            return list(pool.map(run, pieces))
    finally:
        torch.set_num_threads(before)
