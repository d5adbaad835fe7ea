"""The state of any list of gates, block by block: what faster forms are tested against.

The state vector is a tensor of 2 entries per qubit, a density matrix in the Pauli basis one of 4;
applying matrices to some of the wires is the same for both.
"""

from collections.abc import Iterable, Sequence
from functools import cache

import torch
from torch import Tensor

from qmoe_fed.circuits.blocks import Matrices
from qmoe_fed.circuits.operations import Gate, Operation
from qmoe_fed.circuits.schedule import Block, Part, gather
from qmoe_fed.circuits.tables import Linear

Applied = tuple[tuple[int, ...], Tensor, bool]
"""Wires, the matrix that multiplies their coefficients from the left, ``(..., b^w, b^w)``, and
whether there is one for each sample, ``(..., B, b^w, b^w)``; b is the entries per qubit."""

MOST_WIRES, MOST_TURNS = 3, 6
"""Of a block: larger ones pass over the state less often."""


def amplitudes(part: Part, x: Tensor, theta: Tensor) -> Tensor:
    """Return the state, shape ``(..., B or 1, 2^n)``: B if x is in it; qubit 0 is the leading bit.

    Args:
        part: Any without channels.
        x: Features in radians, shape ``(..., B, circuit.features)``.
        theta: Shape ``(..., P)``.
    """
    prepared, blocks, matrices = _plan(part)
    psi = prepared(x, theta)
    dtype = psi.dtype if part.is_real else psi.dtype.to_complex()
    applied = applications(blocks, [m.to(dtype) for m in matrices(x, theta, x.new_empty(0))])
    return evolve(psi.to(dtype), applied, 2)


@cache
def _plan(part: Part) -> tuple["Prepared", list[Block], Matrices]:
    blocks = gather(after_embedding(part.operations), MOST_WIRES, MOST_TURNS)
    return (
        Prepared(part),
        blocks,
        Matrices(part.circuit, blocks, "real" if part.is_real else "complex"),
    )


def after_embedding(operations: Iterable[Operation]) -> list[Operation]:
    """Return operations without amplitude embedding."""
    return [o for o in operations if o.name != "amplitude-embedding"]


def applications(blocks: Sequence[Block], matrices: Iterable[Tensor]) -> list[Applied]:
    """Return blocks as they are applied."""
    return [(b.wires, m, b.of_x) for b, m in zip(blocks, matrices, strict=True)]


class Prepared:
    """The state of a part before all gates but amplitude embeddings: real, other qubits in 0."""

    def __init__(self, part: Part) -> None:
        self.qubits = len(part.qubits)
        self.embeddings = [
            (o.wires, Linear(o.angles, part.circuit))
            for o in part.operations
            if isinstance(o, Gate) and o.name == "amplitude-embedding"
        ]

    def __call__(self, x: Tensor, theta: Tensor) -> Tensor:
        """Return the state, ``(..., B or 1, 2^n)``."""
        order = [wire for wires, _ in self.embeddings for wire in wires]
        psi = x.new_ones(1, 1)
        for _, linear in self.embeddings:
            amplitudes = torch.nn.functional.normalize(linear(x, theta), dim=-1)
            amplitudes = amplitudes if linear.of_x else amplitudes.unsqueeze(-2)
            psi = (psi.unsqueeze(-1) * amplitudes.unsqueeze(-2)).flatten(-2)
        rest = [j for j in range(self.qubits) if j not in order]
        zeros = psi.new_zeros(()).expand(*psi.shape, 2 ** len(rest) - 1)
        psi = torch.cat([psi.unsqueeze(-1), zeros], -1).flatten(-2)
        return reorder(psi, [*order, *rest], list(range(self.qubits)), 2)


def evolve(states: Tensor, gates: Iterable[Applied], base: int) -> Tensor:
    """Apply gates in order.

    Args:
        states: Coefficients, shape ``(..., R, base^n)``: R states, one for each sample if a gate
            has a matrix for each.
        gates: The gates; leading dimensions broadcast against those of ``states``.
        base: Entries per qubit.

    Returns:
        Shape ``(..., R, base^n)``.
    """
    n = (states.shape[-1].bit_length() - 1) // (base.bit_length() - 1)
    order = list(range(n))
    for wires, matrix, of_x in gates:
        # The wires move to the end and stay there until others take their place.
        wanted = [j for j in order if j not in wires] + list(wires)
        rows = reorder(states, order, wanted, base).unflatten(-1, (-1, matrix.shape[-1]))
        if of_x or matrix.dim() == 2:
            states = (rows @ matrix.mT).flatten(-2)
        else:
            product = rows.flatten(-3, -2) @ matrix.mT
            states = product.unflatten(-2, rows.shape[-3:-1]).flatten(-2)
        order = wanted
    return reorder(states, order, list(range(n)), base)


def reorder(states: Tensor, order: list[int], wanted: list[int], base: int) -> Tensor:
    """Permute the qubits of states ``(..., base^n)``."""
    if order == wanted:
        return states
    n = len(order)
    axes = states.unflatten(-1, (base,) * n)
    return axes.movedim([order.index(j) - n for j in wanted], list(range(-n, 0))).flatten(-n)
