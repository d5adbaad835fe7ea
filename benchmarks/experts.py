"""Circuits as experts: all experts of all clients in one program, against one after another."""

from collections.abc import Iterator

import torch
from references import default
from timing import Result, compare
from torch import Tensor

from qmoe_fed.config import ModelConfig
from qmoe_fed.learning.replicas import apply, row_of
from qmoe_fed.models import build_model, initial_parameters

BATCH, CLASSES = 32, 4


def together(clients: int, experts: int, qubits: int, seconds: float) -> Iterator[Result]:
    """Time a gradient of the experts of many clients, three layers each, batches of 32.

    Args:
        clients: Number of clients.
        experts: Number of experts of each.
        qubits: Number of qubits of an expert.
        seconds: Time for the comparison.

    Raises:
        RuntimeError: A contender computes something else.
    """
    options = f"qubits = {qubits}, layers = 3, reuploading = true"
    config = ModelConfig(
        num_experts=experts, qubits=qubits, expert="quantum", expert_options=options
    )
    model = build_model(config, qubits, CLASSES).experts
    found = initial_parameters(lambda: build_model(config, qubits, CLASSES), 0, range(clients))
    own = {n.removeprefix("experts."): v for n, v in found.items() if n.startswith("experts.")}
    own = {name: values.requires_grad_() for name, values in own.items()}
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(clients, BATCH, qubits, generator=generator) * torch.pi
    weights = torch.rand(clients, BATCH, experts, CLASSES, generator=generator)
    circuit = default(model.circuit)

    def gradient(scores: Tensor) -> Tensor:
        return torch.autograd.grad((scores * weights).sum(), own["theta"])[0]

    def ours() -> Tensor:
        return gradient(apply(model, own, x))

    def client_by_client() -> Tensor:
        return gradient(apply(model, own, x, "serial"))

    def pennylane() -> Tensor:
        rows = []
        for k in range(clients):
            part = row_of(own, k)
            read = torch.stack([circuit(x[k], theta) for theta in part["theta"]]).float()
            scores = read @ part["weight"].mT + part["bias"].unsqueeze(-2)
            rows.append(scores.movedim(0, 1))
        return gradient(torch.stack(rows))

    contenders = {
        "together": ours,
        "client by client": client_by_client,
        "default.qubit": pennylane,
    }
    for name, run in contenders.items():
        if not torch.allclose(run(), ours(), atol=1e-3):
            raise RuntimeError(f"{name} does not agree")
    case = {"clients": clients, "experts": experts, "qubits": qubits, "batch": BATCH}
    yield {**case, **compare(contenders, seconds)}
