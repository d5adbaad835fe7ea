"""A simulator as one writes it first: complex amplitudes, gate by gate, torch's autograd."""

import torch
from references import Router
from torch import Tensor

from qmoe_fed.circuits import Circuit


def plain_torch(circuit: Circuit) -> Router:
    """Return the router on amplitudes ``(B, 2^n)``."""
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
