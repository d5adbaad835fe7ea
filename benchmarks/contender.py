"""Federations that run a round each time they are asked, so that they can take turns.

``python contender.py KIND CLIENTS ROUNDS FOLDER``, started by ``federation.py``. KIND says whose:
``qmoe_fed`` is one of this project in one process. The others are ordinary Flower apps, one
SuperNode per client, simulated by Ray as Flower does it, whose clients are ``pennylane``'s or do
nothing (``no_op``).
"""

import json
import os
import sys
import time
from collections.abc import Callable, Iterable
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, MessageType
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg
from numpy.typing import NDArray
from timing import cpu_seconds, peak_megabytes

from qmoe_fed import rng
from qmoe_fed.config import Config
from qmoe_fed.data import fit_projection, load_clients
from qmoe_fed.federated.flower import client_app
from qmoe_fed.federated.flower.grid import LocalGrid, task_identity
from qmoe_fed.federated.flower.messages import arrays_of
from qmoe_fed.federated.flower.server import run_federation
from qmoe_fed.federated.model import Model

BeforeRound = Callable[[NDArray[np.float32]], None]
"""What a federation calls before each round with the shared angles, shape ``(P,)``."""

CLIENTS = {"pennylane": "stock_client", "no_op": "no_op_fed.no_op_fed"}
CHANGES = {  # a round is five steps of 32 samples and nothing else
    "expert-fit": "gradient",
    "num-unseen-clients": 0,
    "local-epochs": 1,
    "train-samples": 160,
    "test-samples": 16,
    "evaluate-every": 1_000_000,
    "checkpoint-every": 0,
    "figures": False,
}


def settings(clients: int, rounds: int) -> dict[str, Any]:
    """Return the settings of a run that is timed: the example's, but for a few."""
    return {**CHANGES, "num-clients": clients, "num-server-rounds": rounds}


def on_request() -> BeforeRound:
    """Return what is done before each round: the last one is reported, the next one waited for.

    Other output goes where errors go. One round more than will be asked for must be announced,
    for a round ends, and all its bookkeeping with it, where the next one begins.
    """
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    start: list[float] = []

    def before_round(theta: NDArray[np.float32]) -> None:
        if start:
            wall, cpu = time.monotonic() - start[0], cpu_seconds() - start[1]
            answer = {"wall": wall, "cpu": cpu, "megabytes": peak_megabytes()}
            print(json.dumps({**answer, "theta": theta.tolist()}), file=answers, flush=True)
        if not sys.stdin.readline():
            raise SystemExit("nobody will ask any more")
        start[:] = [time.monotonic(), cpu_seconds()]

    return before_round


class WatchedGrid(LocalGrid):
    """Says so before each round of training."""

    before_round: BeforeRound

    def deliver(self, messages: list[Message], timeout: float | None) -> list[Message]:
        """Return the replies to messages."""
        if messages[0].metadata.message_type == MessageType.TRAIN:
            self.before_round(arrays_of(messages[0])["router.theta"].numpy())
        return super().deliver(messages, timeout)


def ours(clients: int, rounds: int, folder: Path, before_round: BeforeRound) -> None:
    """Run a federation of this project in this process."""
    config = {**settings(clients, rounds), "engine": "local", "output-dir": str(folder / "results")}
    with task_identity():
        grid = WatchedGrid(client_app(), config)
        grid.before_round = before_round
        run_federation(grid, config)


class Stock(FedAvg):
    """FedAvg that trains all clients and says so before each round."""

    def __init__(self, clients: int, before_round: BeforeRound) -> None:
        super().__init__(fraction_evaluate=0.0, min_available_nodes=clients)
        self.before_round = before_round

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Return the messages of a round."""
        self.before_round(arrays["theta"].numpy())
        return super().configure_train(server_round, arrays, config, grid)

    def aggregate_train(self, server_round: int, replies: Iterable[Message]) -> Any:
        """Aggregate a round; every client must have trained."""
        replies = list(replies)
        for reply in replies:
            if reply.has_error():
                raise RuntimeError(f"a client failed: {reply.error.reason}")
        return super().aggregate_train(server_round, replies)


def stock(grid: Grid, clients: int, rounds: int, folder: Path, before_round: BeforeRound) -> None:
    """Run a stock federation that starts where ours does, on its samples, in its order."""
    config, file = Config.from_flat(settings(clients, rounds)), folder / "clients.npz"
    np.savez(file, **clients_of(config))
    sent = {
        "file": str(file),
        "learning-rate": config.training.learning_rate,
        "weight-decay": config.training.weight_decay,
        "batch-size": config.training.batch_size,
    }
    theta = Model(config).initial(["router.theta"], [0])["router.theta"][0]
    arrays = ArrayRecord({"theta": Array(theta.numpy())})
    strategy = Stock(clients, before_round)
    strategy.start(grid, arrays, num_rounds=rounds, train_config=ConfigRecord(sent))


def clients_of(config: Config) -> dict[str, np.ndarray]:
    """Return what the clients of a federation hold, one row each.

    Samples ``x``, ``y``, their ``order`` in each round, and the ``weight`` and ``bias`` that their
    experts start with.
    """
    clients, seed = range(config.federation.num_clients), config.federation.seed
    data = load_clients(config, clients, fit_projection(config)).train
    experts = Model(config).initial(["experts.weight", "experts.bias"], clients)
    counts = data.counts.numpy()
    orders = [
        rng.permutation(seed, "batches", clients, counts, server_round=number)[:, 0]
        for number in range(1, config.federation.num_server_rounds + 1)
    ]
    arrays = {name.removeprefix("experts."): values.numpy() for name, values in experts.items()}
    return {"x": data.x.numpy(), "y": data.y.numpy(), "order": np.stack(orders, 1), **arrays}


def main(kind: str, clients: int, rounds: int, folder: Path) -> None:
    """Run a federation, two clients at a time on two cores if Ray simulates it."""
    if kind not in CLIENTS:
        ours(clients, rounds, folder, on_request())
        return
    from flwr.simulation import run_simulation  # not where it would count as our memory

    server, before_round = ServerApp(), on_request()

    @server.main()
    def serve(grid: Grid, context: Context) -> None:
        stock(grid, clients, rounds, folder, before_round)

    resources = {"client_resources": {"num_cpus": 1, "num_gpus": 0.0}}
    client = import_module(CLIENTS[kind]).client
    run_simulation(server, client, clients, backend_config=resources)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]) + 1, Path(sys.argv[4]))
