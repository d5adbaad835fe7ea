"""Gates and channels as real Pauli transfer matrices.

A state of n qubits is its 4^n real coefficients Tr(ρP), P a product of I, X, Y and Z, qubit 0
leading. What turns one state into another, unitary or not, multiplies them by the matrix
R_PQ = Tr(P Λ(Q))/2^w (Greenbaum, "Introduction to quantum gate set tomography", 2015): 4×4 for a
rotation or a channel on one qubit, 16×16 for CZ and CNOT. Strengths are tensors of any shape; the
matrices have that shape and two more axes.
"""

from collections.abc import Callable
from functools import cache, reduce

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qmoe_fed.circuits.operations import Channel, Gate, Operation, Slot, fixed_matrix
from qmoe_fed.circuits.tables import Constant


def depolarizing(p: Tensor) -> Tensor:
    """Return the channel that applies X, Y or Z with probability p/3 each.

    ⟨Z⟩ shrinks by 1 - 4p/3, so p = 3/4 forgets the state. This is PennyLane's convention; Qiskit's
    λ shrinks ⟨Z⟩ by 1 - λ, so p = 3λ/4 (see ``depolarizing_from_qiskit``).
    """
    shrink = 1 - 4 * p / 3
    return _transfer(shrink, shrink, shrink)


def amplitude_damping(gamma: Tensor) -> Tensor:
    """Return the channel by which state 1 decays to state 0 with probability γ."""
    return _transfer((1 - gamma).sqrt(), (1 - gamma).sqrt(), 1 - gamma, gamma)


def phase_damping(gamma: Tensor) -> Tensor:
    """Return the channel that shrinks coherences by √(1 - γ) and keeps populations."""
    return _transfer((1 - gamma).sqrt(), (1 - gamma).sqrt(), torch.ones_like(gamma))


def bit_flip(p: Tensor) -> Tensor:
    """Return the channel that applies X with probability p."""
    return _transfer(torch.ones_like(p), 1 - 2 * p, 1 - 2 * p)


CHANNELS: dict[str, Callable[[Tensor], Tensor]] = {
    "depolarizing": depolarizing,
    "amplitude-damping": amplitude_damping,
    "phase-damping": phase_damping,
    "bit-flip": bit_flip,
}


def constant(operation: Operation, like: Tensor, strengths: Tensor) -> Tensor:
    """Return the matrix of a channel or of a gate without angles, ``(..., 1, 4^w, 4^w)``.

    Args:
        operation: The channel or gate.
        like: A tensor whose dtype and device the result has.
        strengths: Of the slots, ``(..., S)``.
    """
    if isinstance(operation, Gate):
        return unitary(operation)(like).unsqueeze(0)
    strength = operation.strength
    if isinstance(strength, Slot):
        value = strengths[..., strength.number].to(like)
    else:
        value = torch.tensor(strength, dtype=like.dtype, device=like.device)
    return CHANNELS[operation.name](value).unsqueeze(-3)


@cache
def unitary(gate: Gate) -> Constant:
    """Return the transfer matrix of a gate without angles."""
    return Constant(of_unitary(fixed_matrix(gate)))


def of_unitary(matrix: NDArray[np.complex128]) -> NDArray[np.float64]:
    """Return the transfer matrix of a unitary."""
    pairs = paulis(len(matrix).bit_length() - 1)
    turned = matrix @ pairs @ matrix.conj().T
    return np.einsum("pij,qji->pq", pairs, turned).real / len(matrix)


@cache
def paulis(wires: int) -> NDArray[np.complex128]:
    """Return all products of I, X, Y and Z in order, ``(4^w, 2^w, 2^w)``."""
    one = [np.eye(2), [[0, 1], [1, 0]], [[0, -1j], [1j, 0]], np.diag([1, -1])]
    whole: list[NDArray[np.complex128]] = [np.eye(1, dtype=complex)]
    for _ in range(wires):
        whole = [np.kron(a, b) for a in whole for b in one]
    return np.array(whole)


def rotation(axis: str, angle: Tensor) -> Tensor:
    """Return the transfer matrices of a rotation by ``angle``, shape ``(*angle.shape, 4, 4)``.

    Args:
        axis: ``x``, ``y`` or ``z``.
        angle: Angles in radians.
    """
    fixed, cosine, sine = rotation_parts(axis)(angle)
    return fixed + angle.cos()[..., None, None] * cosine + angle.sin()[..., None, None] * sine


@cache
def rotation_parts(axis: str) -> Constant:
    """Return the constant part of a rotation, and those that go with the cosine and the sine."""
    a, b = {"x": (2, 3), "y": (3, 1), "z": (1, 2)}[axis]  # a turns to b
    cosine, sine = np.zeros((2, 4, 4))
    cosine[[a, b], [a, b]] = 1
    sine[b, a], sine[a, b] = 1, -1
    return Constant(np.stack([np.eye(4) - cosine, cosine, sine]))


def is_channel(operation: Operation) -> bool:
    """Return whether it is a channel."""
    return isinstance(operation, Channel)


def kron(matrices: list[NDArray[np.generic]]) -> NDArray[np.generic]:
    """Return the Kronecker product of matrices."""
    return reduce(np.kron, matrices)


def _transfer(x: Tensor, y: Tensor, z: Tensor, shift: Tensor | None = None) -> Tensor:
    """Return diag(1, x, y, z), with ``shift`` added to Z for every I."""
    matrix = torch.diag_embed(torch.stack([torch.ones_like(x), x, y, z], -1))
    if shift is None:
        return matrix
    unit = torch.zeros(4, 4, dtype=x.dtype, device=x.device)
    unit[3, 0] = 1
    return matrix + shift[..., None, None] * unit
