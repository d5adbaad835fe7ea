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


def plain_torch(circuit: Circuit) -> Router:
    """A plain simulator: complex amplitudes ``(B, 2, …, 2)``, gate by gate, torch's autograd."""
    n = circuit.qubits
    signs = torch.ones(2, 2)
    signs[1, 1] = -1

    def apply(gate: Tensor, psi: Tensor, j: int) -> Tensor:
        per_sample = "b" if gate.dim() == 3 else ""
        seen = psi.reshape(len(psi), 2**j, 2, -1)
        return torch.einsum(f"{per_sample}ac,bxcy->bxay", gate, seen).reshape(psi.shape)

    def run(x: Tensor, theta: Tensor) -> Tensor:
        psi = torch.zeros(len(x), 2**n, dtype=torch.complex64)
        psi[:, 0] = 1
        for layer in range(circuit.layers):
            if layer == 0 or circuit.reuploading:
                for j in range(n):
                    psi = apply(ry(x[:, j]), psi, j)
            for j in range(n):
                if circuit.entangler == "strongly-entangling":
                    psi = apply(rot(theta[layer, j]), psi, j)
                else:
                    psi = apply(ry(theta[layer, j]), psi, j)
            if circuit.entangler == "strongly-entangling":
                for control, target in circuit.cnots(layer):
                    psi = psi[:, _cnot(n, control, target)]
            else:
                for j in range(n - 1):
                    shape = (len(x), 2**j, 2, 2, -1)
                    psi = (psi.reshape(shape) * signs[..., None]).reshape(len(x), -1)
        return torch.view_as_real(psi).square().reshape(len(x), 4, -1).sum(-1)

    return run


def ry(angle: Tensor) -> Tensor:
    """Return RY(angle), ``(..., 2, 2)``."""
    c, s = (angle / 2).cos(), (angle / 2).sin()
    return torch.stack([c, -s, s, c], -1).unflatten(-1, (2, 2)).to(torch.complex64)


def rot(angles: Tensor) -> Tensor:
    """Return RZ(ω) RY(θ) RZ(φ), ``(2, 2)``."""
    phi, theta, omega = angles
    return _rz(omega) @ ry(theta) @ _rz(phi)


def _rz(angle: Tensor) -> Tensor:
    return torch.diag(torch.exp(0.5j * torch.stack([-angle, angle])))


def _cnot(n: int, control: int, target: int) -> Tensor:
    basis = torch.arange(2**n)
    return basis ^ ((basis >> (n - 1 - control) & 1) << (n - 1 - target))
