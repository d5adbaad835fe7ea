"""The circuits of this project as others run them, each configured as well as it can be."""

from collections.abc import Callable

import numpy as np
import pennylane as qml
import torch
from torch import Tensor

from qmoe_fed.circuits import Circuit

Router = Callable[[Tensor, Tensor], Tensor]
"""``(x (B, n), θ) → (B, outputs)``: here the probabilities of the first two qubits."""


def gates(circuit: Circuit, x: Tensor, theta: Tensor) -> None:
    """Queue the circuit's gates in PennyLane."""
    n = circuit.qubits
    for layer in range(circuit.layers):
        if layer == 0 or circuit.reuploading:
            for j in range(n):
                qml.RY(x[..., j], j)
        if circuit.entangler == "strongly-entangling":
            for j in range(n):
                qml.Rot(*theta[layer, j], j)
            for wires in circuit.cnots(layer):
                qml.CNOT(wires)
            continue
        for j in range(n):
            qml.RY(theta[layer, j], j)
        for j in range(n - 1):
            qml.CZ([j, j + 1])


def lightning(circuit: Circuit) -> Router:
    """``lightning.qubit`` with adjoint gradients, single precision.

    Adjoint gradients exist for expectations only, so the probabilities come from those of Z₀, Z₁
    and Z₀Z₁, which is cheaper than four projectors.
    """
    device = qml.device("lightning.qubit", wires=circuit.qubits, c_dtype=np.complex64)
    signs = torch.tensor([[1.0, 1, 1, 1], [1, 1, -1, -1], [1, -1, 1, -1], [1, -1, -1, 1]]) / 4

    @qml.qnode(device, interface="torch", diff_method="adjoint")
    def strings(x: Tensor, theta: Tensor) -> tuple[object, ...]:
        gates(circuit, x, theta)
        z0, z1 = qml.PauliZ(0), qml.PauliZ(1)
        return qml.expval(z0), qml.expval(z1), qml.expval(z0 @ z1)

    def run(x: Tensor, theta: Tensor) -> Tensor:
        z = torch.stack([value.float() for value in strings(x, theta)], -1)
        return torch.cat([torch.ones(len(x), 1), z], -1) @ signs

    return run


def default_qubit(circuit: Circuit) -> Router:
    """``default.qubit`` with backprop: the batch is broadcast."""

    @qml.qnode(
        qml.device("default.qubit", wires=circuit.qubits), interface="torch", diff_method="backprop"
    )
    def run(x: Tensor, theta: Tensor) -> object:
        gates(circuit, x, theta)
        return qml.probs(wires=[0, 1])

    return run


def default_mixed(circuit: Circuit, p: float) -> Router:
    """``default.mixed`` with backprop, a depolarizing channel after every gate on each wire."""

    @qml.qnode(
        qml.device("default.mixed", wires=circuit.qubits), interface="torch", diff_method="backprop"
    )
    def run(x: Tensor, theta: Tensor) -> object:
        n = circuit.qubits

        def rotate(angle: Tensor, j: int) -> None:
            qml.RY(angle, j)
            qml.DepolarizingChannel(p, j)

        for layer in range(circuit.layers):
            for j in range(n):
                if layer == 0 or circuit.reuploading:
                    rotate(x[..., j], j)
            for j in range(n):
                rotate(theta[layer, j], j)
            for j in range(n - 1):
                qml.CZ([j, j + 1])
                qml.DepolarizingChannel(p, j)
                qml.DepolarizingChannel(p, j + 1)
        if circuit.readout == "expval":
            return [qml.expval(qml.PauliZ(j)) for j in range(n)]
        return qml.probs(wires=[0, 1])

    def readout(x: Tensor, theta: Tensor) -> Tensor:
        values = run(x, theta)
        return values if isinstance(values, Tensor) else torch.stack(list(values), -1)

    return readout
