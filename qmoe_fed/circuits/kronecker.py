"""The state of any circuit as a few batched tensor products.

A layer of one map per qubit is a Kronecker product. The qubits are split into groups of at most
``GROUP``; the maps of a group are multiplied out, for all layers and samples at once, and a layer
is then one matrix product per group on the state reshaped to (…, 2^g₁, 2^g₂, …). Entanglers are a
vector of signs (CZ) or a permutation of the basis (CNOT). Amplitudes are real where the circuit
allows. Everything broadcasts over leading dimensions, so a cohort of clients with parameters of
their own is one call, and ``torch.func.vmap`` works over it.
"""

from collections.abc import Iterable
from functools import cache
from itertools import product

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
    psi = _product_state(first[..., 0])
    if circuit.layers == 1:
        return _entangle_last(circuit, psi, axis=-1)

    maps = _local_maps(
        circuit, theta[..., 1:, :, :, :], x.unsqueeze(-3) if circuit.reuploading else None
    )
    # real maps may follow a complex embedding
    groups = maps.to(psi.dtype).tensor_split(-(-n // GROUP), dim=-3)
    blocks = [_kronecker(group) for group in groups]  # (..., L - 1, B or 1, 2^g, 2^g)
    if circuit.reuploading:
        layers = zip(*(block.unbind(-4) for block in blocks), strict=True)
        return _evolve(circuit, psi.unsqueeze(-2), layers).squeeze(-2)
    layers = zip(*(block.squeeze(-3).unbind(-3) for block in blocks), strict=True)
    if 2**n < x.shape[-2]:
        # What follows the embedding is the same for every sample: multiply it out once.
        basis = torch.eye(2**n, dtype=psi.dtype, device=psi.device)
        return psi @ _evolve(circuit, basis, layers)
    return _evolve(circuit, psi, layers)


def _evolve(circuit: Circuit, psi: Tensor, layers: Iterable[tuple[Tensor, ...]]) -> Tensor:
    """Apply everything after the first layer's maps to psi ``(..., A, 2^n)``.

    A states share their maps: ``layers`` yields the matrices of the groups, ``(..., 2^g, 2^g)``.
    """
    turned = False  # (..., 2^n, A) instead of (..., A, 2^n)
    for layer, blocks in enumerate(layers):
        psi = _entangle(circuit, layer, psi, axis=-2 if turned else -1)
        psi = _turn(psi, blocks, back=turned)
        turned = not turned
    psi = _entangle_last(circuit, psi, axis=-2 if turned else -1)
    return psi.mT if turned else psi


def _turn(psi: Tensor, blocks: tuple[Tensor, ...], back: bool) -> Tensor:
    """Multiply the axis of each group by its block: ``(..., A, 2^n)`` → ``(..., 2^n, A)``.

    Or the other way round, ``back``. Each product takes the axis from one end of the memory and
    leaves it at the other. So the axis of the next group comes to lie at that end, and every
    product is a single large one.
    """
    rows, columns = psi.shape[-2:]
    psi = psi.flatten(-2)
    for block in blocks if back else reversed(blocks):
        size = block.shape[-1]
        if back:
            psi = (psi.unflatten(-1, (size, -1)).mT @ block.mT).flatten(-2)
        else:
            psi = (block @ psi.unflatten(-1, (-1, size)).mT).flatten(-2)
    return psi.unflatten(-1, (columns, rows))


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
    """Return RZ(ω) RY(θ) RZ(φ) for angles (φ, θ, ω) on the last axis.

    Its entries are sums of exp(i(±φ ± θ ± ω)/2).
    """
    signs = torch.from_numpy(_SIGNS).to(angles)
    phases = angles @ signs
    terms = torch.complex(phases.cos(), phases.sin())
    return (terms @ torch.from_numpy(_ROT).to(terms)).unflatten(-1, (2, 2))


_SIGNS = np.array(list(product([0.5, -0.5], repeat=3))).T
_ROT = np.zeros((8, 4), np.complex128)
# exp(∓i(φ+ω)/2) cos(θ/2) on the diagonal, ∓exp(±i(φ-ω)/2) sin(θ/2) beside it
_ROT[[5, 7], 0] = 0.5
_ROT[[1, 3], 1] = 0.5j, -0.5j
_ROT[[4, 6], 2] = -0.5j, 0.5j
_ROT[[0, 2], 3] = 0.5


def _kronecker(maps: Tensor) -> Tensor:
    """Return the Kronecker product over axis -3: ``(..., g, r, c)`` → ``(..., r^g, c^g)``."""
    *rest, right = maps.unbind(-3)
    for factor in reversed(rest):  # from the right: the long axes stay innermost
        outer = factor[..., :, None, :, None] * right[..., None, :, None, :]
        right = outer.flatten(-4, -3).flatten(-2)
    return right


def _product_state(factors: Tensor) -> Tensor:
    """Return the Kronecker product of vectors: ``(..., n, 2)`` → ``(..., 2^n)``."""
    n, columns = factors.shape[-2], factors.unsqueeze(-1)
    if n <= 2 * GROUP:
        return _kronecker(columns)[..., 0]
    # the gradient of one outer product of halves needs no more large arrays
    left, right = columns.tensor_split(2, dim=-3)
    return (_kronecker(left) @ _kronecker(right).mT).flatten(-2)


def _entangle(circuit: Circuit, layer: int, psi: Tensor, axis: int) -> Tensor:
    if circuit.entangler == "cz":
        signs = torch.from_numpy(cz_signs(circuit.qubits)).to(psi)
        return psi * (signs if axis == -1 else signs.unsqueeze(-1))
    if circuit.entangler == "strongly-entangling" and circuit.qubits > 1:
        order = torch.from_numpy(_cnot_permutation(circuit, layer)).to(psi.device)
        return psi.index_select(axis, order)
    return psi


def _entangle_last(circuit: Circuit, psi: Tensor, axis: int) -> Tensor:
    if circuit.entangler == "strongly-entangling":
        return _entangle(circuit, circuit.layers - 1, psi, axis)
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
