"""An ordinary Flower app: one SuperNode per client, simulated by Ray as Flower does it.

``python stock_flower.py CLIENTS ROUNDS FOLDER KIND``, started by ``contender.py``. KIND says which
clients of ``stock_client.py`` take part: ``pennylane`` or ``no_op``.
"""

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import our_federation
import stock_client
from contender import BeforeRound, on_request
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg
from flwr.simulation import run_simulation

from qmoe_fed import rng
from qmoe_fed.config import Config
from qmoe_fed.data import fit_projection, load_clients
from qmoe_fed.federated.model import Model


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
    """Run a stock federation that starts where ours does, on its samples, in its order."""
    config = Config.from_flat(our_federation.settings(clients, rounds))
    arrays = clients_of(config)
    file = folder / "clients.npz"
    np.savez(file, **arrays)
    settings = {
        "file": str(file),
        "learning-rate": config.training.learning_rate,
        "weight-decay": config.training.weight_decay,
        "batch-size": config.training.batch_size,
    }
    theta = Model(config).initial(["router.theta"], [0])["router.theta"][0]
    Stock(kind, clients, before_round).start(
        grid,
        ArrayRecord({"theta": Array(theta.numpy())}),
        num_rounds=rounds,
        train_config=ConfigRecord(settings),
    )


def clients_of(config: Config) -> dict[str, np.ndarray]:
    """Return what the clients of a federation hold, one row each.

    Samples ``x``, ``y``, their ``order`` in each round, and the ``weight`` and ``bias`` that their
    experts start with.
    """
    clients = range(config.federation.num_clients)
    data = load_clients(config, clients, fit_projection(config)).train
    experts = Model(config).initial(["experts.weight", "experts.bias"], clients)
    counts, seed = data.counts.numpy(), config.federation.seed
    rounds = range(1, config.federation.num_server_rounds + 1)
    orders = [
        rng.permutation(seed, "batches", clients, counts, server_round=number)[:, 0]
        for number in rounds
    ]
    return {
        "x": data.x.numpy(),
        "y": data.y.numpy(),
        "order": np.stack(orders, 1),
        "weight": experts["experts.weight"].numpy(),
        "bias": experts["experts.bias"].numpy(),
    }


def simulate(kind: str, clients: int, rounds: int, folder: Path, before_round: BeforeRound) -> None:
    """Run a stock federation on Ray, two clients at a time on two cores."""
    server = ServerApp()

    @server.main()
    def main(grid: Grid, context: Context) -> None:
        federate(grid, kind, clients, rounds, folder, before_round)

    resources = {"client_resources": {"num_cpus": 1, "num_gpus": 0.0}}
    run_simulation(server, stock_client.client, clients, backend_config=resources)


if __name__ == "__main__":
    clients, rounds, folder, kind = sys.argv[1:]
    simulate(kind, int(clients), int(rounds) + 1, Path(folder), on_request())
