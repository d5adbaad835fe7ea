"""An ordinary Flower app: one SuperNode per client, simulated by Ray as Flower does it.

Run as a program, by ``federation.py``: ``python stock_flower.py CLIENTS ROUNDS FOLDER KIND``. KIND
says which of the clients in ``stock_client.py`` take part: ``pennylane`` or ``no_op``.
"""

import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import stock_client
from contender import Rounds
from federation import config_of
from flwr.app import ArrayRecord, ConfigRecord, Context, Message
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg
from flwr.simulation import run_simulation
from numpy.typing import NDArray

from qmoe_fed import rng
from qmoe_fed.data import fit_projection, load_clients
from qmoe_fed.federated.host import Model

BeforeRound = Callable[[NDArray], None]
"""Is given the shared parameters before each round."""


class Stock(FedAvg):
    """FedAvg that trains all clients and sends them one kind of message."""

    def __init__(self, kind: str, clients: int, before_round: BeforeRound) -> None:
        super().__init__(fraction_evaluate=0.0, min_available_nodes=clients)
        self.kind = kind
        self.before_round = before_round

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Return the messages of a round."""
        self.before_round(arrays["theta"].numpy())
        messages = list(super().configure_train(server_round, arrays, config, grid))
        for message in messages:
            message.metadata.message_type = f"train.{self.kind}"
        return messages

    def aggregate_train(self, server_round: int, replies: Iterable[Message]) -> Any:
        """Aggregate a round; every client must have trained."""
        replies = list(replies)
        for reply in replies:
            if reply.has_error():
                raise RuntimeError(f"a client failed: {reply.error.reason}")
        return super().aggregate_train(server_round, replies)


def federate(
    grid: Grid, kind: str, clients: int, rounds: int, folder: Path, before_round: BeforeRound
) -> None:
    """Run the rounds of a stock federation that starts as ours does."""
    config = config_of(clients, rounds)
    file = folder / "clients.npz"
    theta = write_clients(file, clients, rounds)
    settings = {
        "file": str(file),
        "learning-rate": config.training.learning_rate,
        "weight-decay": config.training.weight_decay,
        "batch-size": config.training.batch_size,
    }
    Stock(kind, clients, before_round).start(
        grid,
        ArrayRecord({"theta": theta}),
        num_rounds=rounds,
        train_config=ConfigRecord(settings),
    )
