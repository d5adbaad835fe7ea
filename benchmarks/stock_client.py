"""An ordinary client of Flower, PyTorch and PennyLane.

It is one client of ``simulations/moons_fed``: its samples, its experts' start and the order of its
batches come in arrays written beforehand, and it keeps its experts in ``context.state``.
"""

from collections.abc import Mapping
from functools import lru_cache

import numpy as np
import torch
from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from numpy.typing import NDArray
from references import default
from torch import Tensor, nn

from qmoe_fed.circuits.ansatz import layered

CIRCUIT = default(layered(2, 3, 2, reuploading=True))

client = ClientApp()


class Mixture(nn.Module):
    """The mixture that ``simulations/moons_fed`` trains, as one writes it with PennyLane."""

    def __init__(self, theta: Tensor, weight: Tensor, bias: Tensor) -> None:
        super().__init__()
        self.theta = nn.Parameter(theta)
        self.experts = nn.ModuleList(nn.Linear(2, 2) for _ in weight)
        for expert, w, b in zip(self.experts, weight, bias, strict=True):
            expert.load_state_dict({"weight": w, "bias": b})

    def forward(self, x: Tensor) -> Tensor:
        """Return logits ``(B, 2)`` for x ``(B, 2)``."""
        weights = CIRCUIT(x, self.theta).float()
        outputs = torch.stack([expert(x) for expert in self.experts], 1)
        return (weights.unsqueeze(-1) * outputs).sum(1)


@client.train()
def train(message: Message, context: Context) -> Message:
    """Train a client's mixture for one epoch."""
    torch.set_num_threads(1)
    settings, number = message.content["config"], int(context.node_config["partition-id"])
    mine = {name: torch.from_numpy(a[number]) for name, a in read(settings["file"]).items()}
    theta = torch.from_numpy(message.content["arrays"]["theta"].numpy())
    model = Mixture(theta, mine["weight"], mine["bias"])
    if "experts" in context.state:
        model.experts.load_state_dict(context.state["experts"].to_torch_state_dict())

    decayed = {"params": model.experts.parameters(), "weight_decay": settings["weight-decay"]}
    optimizer = torch.optim.Adam([{"params": [model.theta]}, decayed], settings["learning-rate"])
    order = mine["order"][settings["server-round"] - 1]
    for rows in order.split(settings["batch-size"]):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(mine["x"][rows]), mine["y"][rows])
        loss.backward()
        optimizer.step()

    context.state["experts"] = ArrayRecord(model.experts.state_dict())
    arrays = ArrayRecord({"theta": model.theta.detach()})
    content = {"arrays": arrays, "metrics": MetricRecord({"num-examples": len(order)})}
    return Message(RecordDict(content), reply_to=message)


@lru_cache
def read(file: str) -> Mapping[str, NDArray]:
    """Return what all clients hold, read once per process."""
    with np.load(file) as arrays:
        return dict(arrays)
