"""An ordinary Flower app: one SuperNode per client, simulated by Ray as Flower does it.

Run as a program, by ``federation.py``: ``python stock_flower.py KIND CLIENTS ROUNDS``. KIND is
``pennylane``, a usual PyTorch client with a router on ``default.qubit``, or ``no_op``, a client
that returns at once what it was sent. Prints the seconds of each round as JSON.
"""

import json
import sys
import time
from collections.abc import Iterable
from itertools import pairwise
from typing import Any

import torch
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg
from flwr.simulation import run_simulation
from torch import Tensor, nn

EXPERTS, SAMPLES, BATCH, CLASSES = 4, 160, 32, 2


class Mixture(nn.Module):
    """The mixture that ``simulations/moons_fed`` trains, as one writes it with PennyLane."""

    def __init__(self) -> None:
        super().__init__()
        from references import default_qubit

        from qmoe_fed.circuits import Circuit

        self.theta = nn.Parameter(torch.randn(3, 2))
        self.experts = nn.ModuleList(nn.Linear(2, CLASSES) for _ in range(EXPERTS))
        self.circuit = default_qubit(Circuit(2, 3, reuploading=True))

    def forward(self, x: Tensor) -> Tensor:
        """Return logits ``(B, C)`` for x ``(B, 2)``."""
        weights = self.circuit(x, self.theta).float()
        outputs = torch.stack([expert(x) for expert in self.experts], 1)
        return (weights.unsqueeze(-1) * outputs).sum(1)


client = ClientApp()


@client.train("pennylane")
def train(message: Message, context: Context) -> Message:
    """Train a client's mixture for one epoch of five steps."""
    torch.set_num_threads(1)
    model = Mixture()
    model.theta.data = torch.from_numpy(message.content["arrays"]["theta"].numpy().copy())
    generator = torch.Generator().manual_seed(int(context.node_config["partition-id"]))
    x = torch.rand(SAMPLES, 2, generator=generator) * torch.pi
    y = (x.sum(1) > torch.pi).long()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
    for rows in torch.randperm(SAMPLES, generator=generator).split(BATCH):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x[rows]), y[rows])
        loss.backward()
        optimizer.step()
    return _reply(message, ArrayRecord({"theta": model.theta.detach()}))


@client.train("no_op")
def no_op(message: Message, context: Context) -> Message:
    """Return what was sent."""
    return _reply(message, message.content["arrays"])


def _reply(message: Message, arrays: ArrayRecord) -> Message:
    content = {"arrays": arrays, "metrics": MetricRecord({"num-examples": SAMPLES})}
    return Message(RecordDict(content), reply_to=message)


class Timed(FedAvg):
    """FedAvg that trains all clients, with one kind of message, and looks at the clock."""

    def __init__(self, kind: str, clients: int) -> None:
        super().__init__(fraction_evaluate=0.0, min_available_nodes=clients)
        self.kind = kind
        self.ends = [time.monotonic()]

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Return the messages of a round."""
        messages = list(super().configure_train(server_round, arrays, config, grid))
        for message in messages:
            message.metadata.message_type = f"train.{self.kind}"
        return messages

    def aggregate_train(self, server_round: int, replies: Iterable[Message]) -> Any:
        """Aggregate a round and note when; every client must have trained."""
        replies = list(replies)
        if any(reply.has_error() for reply in replies):
            raise RuntimeError("a client failed")
        aggregate = super().aggregate_train(server_round, replies)
        self.ends.append(time.monotonic())
        return aggregate


def simulate(kind: str, clients: int, rounds: int) -> list[float]:
    """Return the seconds of each round; the first one starts Ray's workers."""
    strategy, server = Timed(kind, clients), ServerApp()

    @server.main()
    def main(grid: Grid, context: Context) -> None:
        strategy.start(grid, ArrayRecord({"theta": torch.zeros(3, 2)}), num_rounds=rounds)

    resources = {"client_resources": {"num_cpus": 1, "num_gpus": 0.0}}
    run_simulation(server, client, clients, backend_config=resources)
    return [end - start for start, end in pairwise(strategy.ends)]


if __name__ == "__main__":
    print(json.dumps(simulate(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))))
