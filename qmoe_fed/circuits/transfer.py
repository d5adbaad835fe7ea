"""Gates and channels as matrices on the few wires they act on.

A pure state of n qubits is 2^n amplitudes. A mixed one is its 4^n real coefficients Tr(ρP), P a
product of I, X, Y and Z, qubit 0 leading. What turns one into another, unitary or not, multiplies
them by the matrix R_PQ = Tr(P Λ(Q))/2^w (Greenbaum, "Introduction to quantum gate set tomography",
2015): 4×4 for a channel on one qubit, 16×16 for CZ and CNOT. ``base`` is 2 or 4, the number of
entries per qubit.
"""

from collections.abc import Sequence
from functools import cache
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from qmoe_fed.circuits.operations import Gate, fixed_matrix

Array = NDArray[np.complex128]
Number = TypeVar("Number", float, Tensor)

PAULI: dict[str, Array] = {
    "i": np.eye(2, dtype=complex),
    "x": np.array([[0, 1], [1, 0]], complex),
    "y": np.array([[0, -1j], [1j, 0]]),
    "z": np.diag([1, -1]).astype(complex),
}
TURNED = {"x": (2, 3), "y": (3, 1), "z": (1, 2)}
"""The components that a rotation about an axis mixes: the first one turns to the second."""

_DECAYED = np.diag([1.0, 0, 0, 0])
_DECAYED[3, 0] = 1
CHANNELS = {
    "depolarizing": [np.diag([1.0, 0, 0, 0]), np.eye(4)],
    "bit-flip": [np.diag([1.0, 1, 0, 0]), np.eye(4)],
    "phase-damping": [np.diag([1.0, 0, 0, 1]), np.eye(4)],
    "amplitude-damping": [_DECAYED, 2 * _DECAYED + np.diag([0.0, 1, 1, 0]), np.eye(4)],
}
"""Channels as polynomials of degree d in what they leave, r: the factors of r^i (1-r)^(d-i).

Depolarizing by PennyLane's p, which shrinks ⟨Z⟩ by r = 1 - 4p/3; a bit flip by r = 1 - 2p.
Damping by γ shrinks coherences by r = √(1 - γ); amplitude damping lets state 1 decay to 0.
"""


def remaining(name: str, strength: Number) -> Number:
    """Return r of a channel of some strength."""
    if name == "depolarizing":
        return 1 - 4 * strength / 3
    return 1 - 2 * strength if name == "bit-flip" else (1 - strength) ** 0.5


def rotation(axis: str, base: int) -> tuple[NDArray[np.float64], Array]:
    """Return s and P, for each of the terms exp(isa) P that a rotation by a is the sum of."""
    if base == 2:
        pauli = PAULI[axis]
        return np.array([-0.5, 0.5]), np.stack([np.eye(2) + pauli, np.eye(2) - pauli]) / 2
    u, v = TURNED[axis]
    forward, still = np.zeros((4, 4), complex), np.eye(4, dtype=complex)
    forward[[u, v], [u, v]], forward[u, v], forward[v, u] = 0.5, 0.5j, -0.5j
    still[[u, v], [u, v]] = 0
    return np.array([0.0, 1, -1]), np.stack([still, forward, forward.conj()])


@cache
def constant(gate: Gate, base: int) -> Array:
    """Return the matrix of a gate without angles."""
    matrix = fixed_matrix(gate)
    if base == 2:
        return matrix
    pairs = kron([np.stack(list(PAULI.values()))] * len(gate.wires))
    turned = matrix @ pairs @ matrix.conj().T
    return np.array(np.einsum("pij,qji->pq", pairs, turned) / len(matrix))


def kron(factors: Sequence[Array]) -> Array:
    """Return the Kronecker product of matrices; of stacks, all products of one from each."""
    whole, *others = factors
    for factor in others:
        axes = "aij,bkl->abikjl" if factor.ndim > 2 else "ij,kl->ikjl"
        size = np.multiply(whole.shape, factor.shape)
        whole = np.array(np.einsum(axes, whole, factor)).reshape(size)
    return whole


def placed(matrix: Array, on: tuple[int, ...], wires: int, base: int) -> Array:
    """Return the matrix on all of ``wires`` wires of what acts on some of them."""
    others = [j for j in range(wires) if j not in on]
    whole = np.kron(matrix, np.eye(base ** len(others))).reshape((base,) * (2 * wires))
    order = np.argsort([*on, *others])
    return np.array(whole.transpose([*order, *(wires + order)]).reshape(base**wires, -1))
