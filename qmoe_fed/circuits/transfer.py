"""Gates as transfer matrices on few wires, and their products.

A state of n qubits is its 4^n real coefficients Tr(ρP), P a product of I, X, Y and Z, qubit 0
leading. What turns one state into another, unitary or not, is then a real matrix: 4×4 for a
rotation or a channel on one qubit, 16×16 for CZ and CNOT.
"""

from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qmoe_fed.circuits.channels import Noise
from qmoe_fed.circuits.circuit import Circuit

Gate = tuple[tuple[int, ...], Tensor]
"""Wires and the matrices ``(..., S, 4^w, 4^w)`` that multiply their coefficients from the left;
S is the number of samples, or 1 if all share one matrix."""


def rotation(axis: str, angle: Tensor) -> Tensor:
    """Return the transfer matrices of a rotation by ``angle``, shape ``(*angle.shape, 4, 4)``.

    Args:
        axis: ``x``, ``y`` or ``z``.
        angle: Angles in radians.
    """
    fixed, cosine, sine = torch.from_numpy(_rotation_parts(axis)).to(angle)
    return fixed + angle.cos()[..., None, None] * cosine + angle.sin()[..., None, None] * sine


@cache
def controlled(pauli: str) -> NDArray[np.float64]:
    """Return the 16×16 transfer matrix of CNOT (``pauli = "x"``) or CZ (``"z"``)."""
    matrices = {
        "i": np.eye(2),
        "x": np.array([[0, 1], [1, 0]]),
        "y": np.array([[0, -1j], [1j, 0]]),
        "z": np.diag([1, -1]),
    }
    unitary = np.kron(np.diag([1, 0]), matrices["i"]) + np.kron(np.diag([0, 1]), matrices[pauli])
    pairs = [np.kron(a, b) for a in matrices.values() for b in matrices.values()]
    turned = [unitary @ pair @ unitary.conj().T for pair in pairs]
    return np.array([[np.trace(p @ q).real / 4 for q in turned] for p in pairs])


def matrices(circuit: Circuit, noise: Noise, like: Tensor) -> tuple[Tensor, Tensor]:
    """Return the channel and the circuit's entangler, with channels after it if they belong there.

    Args:
        circuit: Says which entangler.
        noise: The noise.
        like: A tensor whose dtype and device the result has.

    Returns:
        Shapes ``(*strength.shape, 1, 4, 4)`` and ``(*strength.shape, 1, 16, 16)``.
    """
    channel = noise.matrix(like).unsqueeze(-3)
    entangler = torch.from_numpy(controlled("z" if circuit.entangler == "cz" else "x")).to(like)
    if noise.placement != "gate":
        return channel, entangler.expand(*channel.shape[:-2], 16, 16)
    both = (channel[..., :, None, :, None] * channel[..., None, :, None, :]).flatten(-4, -3)
    return channel, both.flatten(-2) @ entangler


def fuse(gates: list[Gate], size: int) -> list[Gate]:
    """Multiply gates out into fewer gates on at most ``size`` wires that do the same."""
    blocks: list[tuple[set[int], list[Gate]]] = []
    for gate in gates:
        wires = set(gate[0])
        # The gate commutes with all blocks after the last one that shares a wire with it.
        last = max((i for i, (taken, _) in enumerate(blocks) if taken & wires), default=0)
        for taken, members in blocks[last:]:
            if len(taken | wires) <= size:
                taken |= wires
                members.append(gate)
                break
        else:
            blocks.append((wires, [gate]))
    return [_multiply_out(sorted(taken), members) for taken, members in blocks]


def _multiply_out(wires: list[int], gates: list[Gate]) -> Gate:
    matrix = gates[0][1]
    basis = torch.eye(4 ** len(wires), dtype=matrix.dtype, device=matrix.device)
    local = [(tuple(map(wires.index, gate)), matrix) for gate, matrix in gates]
    return tuple(wires), evolve(basis, local).mT


def evolve(states: Tensor, gates: list[Gate]) -> Tensor:
    """Apply gates in order.

    Args:
        states: Coefficients, shape ``(..., S, R, 4^n)``: R states for each of the gates' S.
        gates: The gates; their leading dimensions broadcast against those of ``states``.

    Returns:
        Shape ``(..., S, R, 4^n)``.
    """
    n = (states.shape[-1].bit_length() - 1) // 2
    order = list(range(n))
    for wires, matrix in gates:
        # The wires move to the end and stay there until others take their place.
        wanted = [j for j in order if j not in wires] + list(wires)
        rows = _reorder(states, order, wanted).unflatten(-1, (-1, matrix.shape[-1]))
        product = rows.flatten(-3, -2) @ matrix.mT
        states, order = product.unflatten(-2, rows.shape[-3:-1]).flatten(-2), wanted
    return _reorder(states, order, list(range(n)))


def _reorder(states: Tensor, order: list[int], wanted: list[int]) -> Tensor:
    """Permute the qubits of states ``(..., 4^n)``."""
    if order == wanted:
        return states
    n = len(order)
    axes = states.unflatten(-1, (4,) * n)
    return axes.movedim([order.index(j) - n for j in wanted], list(range(-n, 0))).flatten(-n)


@cache
def _rotation_parts(axis: str) -> NDArray[np.float64]:
    """Return the constant part of a rotation, and those that go with the cosine and the sine."""
    a, b = {"x": (2, 3), "y": (3, 1), "z": (1, 2)}[axis]  # a turns to b
    cosine, sine = np.zeros((2, 4, 4))
    cosine[[a, b], [a, b]] = 1
    sine[b, a], sine[a, b] = 1, -1
    return np.stack([np.eye(4) - cosine, cosine, sine])
