"""Circuits as others run them, each configured as well as it can be."""

from collections.abc import Callable

import numpy as np
import pennylane as qml
import torch
from torch import Tensor

from qmoe_fed.circuits import Angle, Circuit, Gate

Router = Callable[[Tensor, Tensor], Tensor]
"""``(x (B, d), θ (P,)) → (B, outputs)``: the first two qubits' probabilities, or ⟨Z⟩ of each."""


def angle(a: Angle, x: Tensor, theta: Tensor) -> Tensor | float:
    """Return an angle's value, ``(B,)``, or one for all samples if no feature is in it."""
    terms = [(c, x[..., j]) for j, c in a.features] + [(c, theta[k]) for k, c in a.parameters]
    values = [value if c == 1 else c * value for c, value in terms]
    return sum(values[1:], values[0] + a.constant if a.constant else values[0])


def queue(circuit: Circuit, x: Tensor, theta: Tensor) -> None:
    """Queue gates, and depolarizing channels, in PennyLane."""
    for operation in circuit.operations:
        if isinstance(operation, Gate):
            angles = [angle(a, x, theta) for a in operation.angles]
            getattr(qml, operation.name)(*angles, wires=list(operation.wires))
        else:
            qml.DepolarizingChannel(operation.strength, wires=operation.wires)


def lightning(circuit: Circuit) -> Router:
    """``lightning.qubit`` with adjoint gradients, single precision.

    Adjoint gradients exist for expectations only, so the probabilities come from those of Z₀, Z₁
    and Z₀Z₁, which is cheaper than four projectors.
    """
    device = qml.device("lightning.qubit", wires=circuit.qubits, c_dtype=np.complex64)
    signs = torch.tensor([[1.0, 1, 1, 1], [1, 1, -1, -1], [1, -1, 1, -1], [1, -1, -1, 1]]) / 4

    @qml.qnode(device, interface="torch", diff_method="adjoint")
    def strings(x: Tensor, theta: Tensor) -> tuple[object, ...]:
        queue(circuit, x, theta)
        z0, z1 = qml.PauliZ(0), qml.PauliZ(1)
        return qml.expval(z0), qml.expval(z1), qml.expval(z0 @ z1)

    def run(x: Tensor, theta: Tensor) -> Tensor:
        z = torch.stack([value.float() for value in strings(x, theta)], -1)
        return torch.cat([torch.ones(len(x), 1), z], -1) @ signs

    return run


def default(circuit: Circuit, device: str = "default.qubit") -> Router:
    """``default.qubit`` or ``default.mixed`` with backprop: the batch is broadcast."""

    @qml.qnode(qml.device(device, wires=circuit.qubits), interface="torch", diff_method="backprop")
    def run(x: Tensor, theta: Tensor) -> object:
        queue(circuit, x, theta)
        if circuit.readout == "expval":
            return [qml.expval(qml.PauliZ(j)) for j in range(circuit.measured)]
        return qml.probs(wires=range(circuit.measured))

    if circuit.readout == "probs":
        return run
    return lambda x, theta: torch.stack(list(run(x, theta)), -1)


def plain_torch(circuit: Circuit) -> Router:
    """A simulator as one writes it first: complex amplitudes, gate by gate, torch's autograd."""
    n = circuit.qubits
    signs = torch.tensor([[1.0, 1], [1, -1]])[..., None]
    basis = torch.arange(2**n)

    def apply(psi: Tensor, gate: Gate, angles: list[Tensor]) -> Tensor:
        j = gate.wires[0]
        if gate.name == "CZ":  # of neighbours
            return (psi.reshape(len(psi), 2**j, 2, 2, -1) * signs).reshape(psi.shape)
        if gate.name == "CNOT":
            return psi[:, basis ^ ((basis >> (n - 1 - j) & 1) << (n - 1 - gate.wires[1]))]
        matrix = (_ry if gate.name == "RY" else _rot)(*angles)
        per_sample = "b" if matrix.dim() == 3 else ""
        seen = psi.reshape(len(psi), 2**j, 2, -1)
        return torch.einsum(f"{per_sample}ac,bxcy->bxay", matrix, seen).reshape(psi.shape)

    def run(x: Tensor, theta: Tensor) -> Tensor:
        psi = torch.eye(1, 2**n, dtype=torch.complex64).expand(len(x), -1)
        for gate in circuit.operations:
            psi = apply(psi, gate, [angle(a, x, theta) for a in gate.angles])
        return torch.view_as_real(psi).square().reshape(len(x), 4, -1).sum(-1)

    return run


def _ry(a: Tensor) -> Tensor:
    c, s = (a / 2).cos(), (a / 2).sin()
    return torch.stack([c, -s, s, c], -1).unflatten(-1, (2, 2)).to(torch.complex64)


def _rot(phi: Tensor, theta: Tensor, omega: Tensor) -> Tensor:
    before, after = (torch.exp(0.5j * torch.stack([-a, a])).diag() for a in (phi, omega))
    return after @ _ry(theta) @ before
