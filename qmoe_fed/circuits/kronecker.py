"""The state of any circuit as a few batched tensor products.

A layer of one map per qubit is a Kronecker product. The qubits are split into groups of at most
``GROUP``; the maps of a group are multiplied out, for all layers and samples at once, and a layer
is then one matrix product per group on the state reshaped to (…, 2^g₁, 2^g₂, …). Entanglers are a
vector of signs (CZ) or a permutation of the basis (CNOT). Amplitudes are real where the circuit
allows. Everything broadcasts over leading dimensions, so a cohort of clients with parameters of
their own is one call, and ``torch.func.vmap`` works over it.
"""

from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qmoe_fed.circuits.circuit import Circuit

GROUP = 4
"""Most qubits whose maps are multiplied out into one matrix."""


def amplitudes(circuit: Circuit, x: Tensor, theta: Tensor) -> Tensor:
    """Return the state before measurement, shape ``(..., B, 2^n)``; qubit 0 is the leading bit.

    A CZ layer just before the readout is left out: it changes signs only.

    Args:
        circuit: The circuit.
        x: An angle for each qubit, shape ``(..., B, n)``.
        theta: Shape ``(..., *circuit.parameter_shape)``.
    """
    n = circuit.qubits
    if circuit.entangler != "strongly-entangling":
        theta = theta.unsqueeze(-1)
    theta = theta.unsqueeze(-3)  # (..., L, 1, n, p): p angles per map, the same for every sample

    first = _local_maps(circuit, theta[..., 0, :, :, :], x)
    psi = _kronecker(first[..., :1])[..., 0]
    if circuit.layers == 1:
        return _entangle_last(circuit, psi)

    maps = _local_maps(
        circuit, theta[..., 1:, :, :, :], x.unsqueeze(-3) if circuit.reuploading else None
    )
    # real maps may follow a complex embedding
    groups = maps.to(psi.dtype).tensor_split(-(-n // GROUP), dim=-3)
    blocks = [_kronecker(group) for group in groups]
    if not circuit.reuploading and 2**n < x.shape[-2]:
        # What follows the embedding is the same for every sample: multiply it out once.
        basis = torch.eye(2**n, dtype=psi.dtype, device=psi.device)
        return psi @ _evolve(circuit, basis, blocks)
    return _evolve(circuit, psi, blocks)


def _evolve(circuit: Circuit, psi: Tensor, blocks: list[Tensor]) -> Tensor:
    """Apply everything after the first layer's maps to psi ``(..., B, 2^n)``.

    ``blocks[i]`` holds group i's matrices, ``(..., L - 1, B or 1, 2^g, 2^g)``.
    """
    for layer in range(circuit.layers - 1):
        psi = _entangle(circuit, layer, psi)
        left = 1
        for block in blocks:
            psi = _apply(block[..., layer, :, :, :], psi, left)
            left *= block.shape[-1]
    return _entangle_last(circuit, psi)


def _apply(block: Tensor, psi: Tensor, left: int) -> Tensor:
    """Multiply one axis of psi, seen as ``(..., B, left, 2^g, right)``, by the block."""
    size = block.shape[-1]
    if left * size < psi.shape[-1]:
        return (block.unsqueeze(-3) @ psi.unflatten(-1, (left, size, -1))).flatten(-3)
    rows = psi.unflatten(-1, (left, size))
    if block.shape[-3] == 1:  # one matrix for all samples: one product
        flat = rows.flatten(-3, -2) @ block.squeeze(-3).mT
        return flat.unflatten(-2, rows.shape[-3:-1]).flatten(-2)
    return (rows @ block.mT).flatten(-2)


def _local_maps(circuit: Circuit, theta: Tensor, x: Tensor | None) -> Tensor:
    """Return V(θ), or V(θ)·E(x) if x is given, shape ``(..., B or 1, n, 2, 2)``.

    Args:
        circuit: Says which V and E.
        theta: Shape ``(..., 1, n, p)``.
        x: Shape ``(..., B, n)`` or None.
    """
    if circuit.real:
        # RY(θ)·RY(x) = RY(θ + x)
        angle = theta.squeeze(-1) if x is None else theta.squeeze(-1) + x
        return _ry(angle)
    trainable = _rot(theta) if circuit.entangler == "strongly-entangling" else _ry(theta[..., 0])
    if x is None:
        return trainable
    embedding = _ry(x) if circuit.embedding == "ry" else _rx(x)
    # elementwise: a batch of 2×2 products is faster so than as a batched GEMM
    return (trainable.unsqueeze(-1) * embedding.unsqueeze(-3)).sum(-2)


def _ry(angle: Tensor) -> Tensor:
    c, s = (angle / 2).cos(), (angle / 2).sin()
    return torch.stack([c, -s, s, c], -1).unflatten(-1, (2, 2))


def _rx(angle: Tensor) -> Tensor:
    c, s = (angle / 2).cos(), (angle / 2).sin()
    zero = torch.zeros_like(c)
    diagonal, other = torch.complex(c, zero), torch.complex(zero, -s)
    return torch.stack([diagonal, other, other, diagonal], -1).unflatten(-1, (2, 2))


def _rot(angles: Tensor) -> Tensor:
    """Return RZ(ω) RY(θ) RZ(φ) for angles (φ, θ, ω) on the last axis."""
    phi, theta, omega = angles.unbind(-1)
    c, s = (theta / 2).cos(), (theta / 2).sin()
    plus, minus = (phi + omega) / 2, (phi - omega) / 2
    # the magnitude stays outside: the derivative of torch.polar is wrong for a negative one
    p, m = torch.polar(torch.ones_like(c), plus), torch.polar(torch.ones_like(c), minus)
    entries = [c * p.conj(), -s * m, s * m.conj(), c * p]
    return torch.stack(entries, -1).unflatten(-1, (2, 2))


def _kronecker(maps: Tensor) -> Tensor:
    """Return the Kronecker product over axis -3: ``(..., g, r, c)`` → ``(..., r^g, c^g)``."""
    product, *rest = maps.unbind(-3)
    for factor in rest:
        outer = product[..., :, None, :, None] * factor[..., None, :, None, :]
        product = outer.flatten(-4, -3).flatten(-2)
    return product


def _entangle(circuit: Circuit, layer: int, psi: Tensor) -> Tensor:
    if circuit.entangler == "cz":
        return psi * torch.from_numpy(cz_signs(circuit.qubits)).to(psi)
    if circuit.entangler == "strongly-entangling" and circuit.qubits > 1:
        return psi[..., torch.from_numpy(_cnot_permutation(circuit, layer)).to(psi.device)]
    return psi


def _entangle_last(circuit: Circuit, psi: Tensor) -> Tensor:
    if circuit.entangler == "strongly-entangling":
        return _entangle(circuit, circuit.layers - 1, psi)
    return psi


def bits(qubits: int) -> NDArray[np.int64]:
    """Return the bits of every basis state, shape ``(2^n, n)``."""
    return np.arange(2**qubits)[:, None] >> np.arange(qubits)[::-1] & 1


@cache
def cz_signs(qubits: int) -> NDArray[np.float32]:
    """Return the diagonal of CZ between all neighbours, shape ``(2^n,)``."""
    b = bits(qubits)
    return (1 - 2 * ((b[:, :-1] & b[:, 1:]).sum(1) % 2)).astype(np.float32)


@cache
def _cnot_permutation(circuit: Circuit, layer: int) -> NDArray[np.int64]:
    """Return p with new[i] = old[p[i]] for the layer's CNOTs, applied in order."""
    n, p = circuit.qubits, np.arange(2**circuit.qubits)
    for control, target in circuit.cnots(layer):
        basis = np.arange(2**n)
        p = p[basis ^ ((basis >> (n - 1 - control) & 1) << (n - 1 - target))]
    return p
