"""Blocks of operations on few wires, multiplied out: one table makes the matrices of many.

A rotation by a is a sum of terms exp(isa) P with constant P. So what a few of them come to, with
constant gates and channels between them, is linear in cosines and sines of sums ±a₁±a₂…, and
polynomial in what a channel leaves if its strength is given only when the circuit is run. Blocks
of the same kinds of operations are one product with one table.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qmoe_fed.circuits.circuit import Circuit
from qmoe_fed.circuits.operations import Channel, Slot
from qmoe_fed.circuits.schedule import AXES, Block, slotted
from qmoe_fed.circuits.tables import Constant, Linear, waves
from qmoe_fed.circuits.transfer import CHANNELS, constant, placed, remaining, rotation

Form = Literal["real", "complex", "stacked", "pauli"]
"""Matrices of amplitudes, real, complex, or complex with (Re, Im) as one more axis of two, the
last one; or of coefficients in the Pauli basis."""

Array = NDArray[np.complex128]
Edges = tuple[NDArray[np.float64] | None, NDArray[np.float64] | None]
"""What multiplies the transpose of a matrix from the left and from the right."""


class Matrices:
    """The matrices of blocks, which multiply columns from the left.

    Args:
        circuit: The circuit that they are of.
        blocks: The blocks.
        form: Of the matrices.
        edges: Of each block, if its matrix is wanted transposed, for rows, with these around it.
    """

    def __init__(
        self,
        circuit: Circuit,
        blocks: Sequence[Block],
        form: Form,
        edges: Sequence[Edges] | None = None,
    ) -> None:
        kinds: dict[object, list[int]] = {}
        for number, one in enumerate(blocks):
            pair = edges[number] if edges else ()
            around = tuple(None if e is None else e.tobytes() for e in pair)
            kinds.setdefault((one.kind, around), []).append(number)
        self.tables = [
            (own, _Table(circuit, [blocks[i] for i in own], form, edges[own[0]] if edges else None))
            for own in kinds.values()
        ]
        self.of_x = [one.of_x for one in blocks]

    def __call__(self, x: Tensor, theta: Tensor, strengths: Tensor) -> list[Tensor]:
        """Return the matrix of each block, ``(..., D, D)``, or ``(..., B, D, D)`` if x is in it."""
        found: dict[int, Tensor] = {}
        for own, table in self.tables:
            whole = table(x, theta, strengths)
            several = table.angles is not None and len(own) > 1
            found |= zip(own, whole.unbind(-3) if several else [whole] * len(own), strict=True)
        return [found[number] for number in range(len(found))]

    def stacks(self, x: Tensor, theta: Tensor, strengths: Tensor, length: int) -> list[Tensor]:
        """Return so many blocks at a time, none of them of x: ``(..., length, D, D)`` each."""
        if len(self.tables) == 1 and self.tables[0][1].count > 1 and self.tables[0][1].angles:
            whole = self.tables[0][1](x, theta, strengths)
            return list(whole.unflatten(-3, (-1, length)).unbind(-4))
        each = self(x, theta, strengths)
        rows = [each[i : i + length] for i in range(0, len(each), length)]
        return [torch.stack(torch.broadcast_tensors(*row), -3) for row in rows]


class _Table:
    """Blocks of one kind: ``(..., B if x is in them, count if above 1, D, D)``.

    Without rotations, one matrix for all.
    """

    def __init__(
        self, circuit: Circuit, blocks: Sequence[Block], form: Form, edges: Edges | None
    ) -> None:
        first, self.count = blocks[0], len(blocks)
        signs, terms = _terms(first, 4 if form == "pauli" else 2)
        table, kept = _in_waves(signs, terms)
        values = formed(table, form)
        if edges is not None:
            left, right = edges
            values = values.mT if left is None else left @ values.mT
            values = values if right is None else values @ right
        self.slot = next((o for o in first.operations if slotted(o)), None)
        self.degree, self.size = len(terms) - 1, (self.count, kept.shape[1])
        self.angles: Linear | None = None
        if first.angles:
            mix = np.array(np.kron(np.eye(self.count), kept))
            self.angles = Linear([a for one in blocks for a in one.angles], circuit, mix)
        self.complex, self.shape = np.iscomplexobj(values), values.shape[-2:]
        if self.angles is None and self.slot is None:
            self.table = Constant(values[0])
            return
        rows = np.ascontiguousarray(values).reshape(len(values), -1)
        self.table = Constant(rows.view(np.float64))
        self.shape += (2,) * self.complex

    def __call__(self, x: Tensor, theta: Tensor, strengths: Tensor) -> Tensor:
        weights: Tensor | None = None
        if self.angles is not None:
            angles = self.angles(x, theta)
            weights = waves(angles.unflatten(-1, self.size) if self.count > 1 else angles)
        if self.slot is not None:
            powers = self._powers(strengths, x)
            if self.angles is None or weights is None:
                weights = powers
            else:
                between = (None,) * (self.angles.of_x + (self.count > 1))
                powers = powers[(..., *between, slice(None), None)]
                weights = (powers * weights.unsqueeze(-2)).flatten(-2)
        if weights is None:
            return self.table(x)
        matrices = (weights @ self.table(x)).unflatten(-1, self.shape)
        return torch.view_as_complex(matrices) if self.complex else matrices

    def _powers(self, strengths: Tensor, like: Tensor) -> Tensor:
        """Return r^i (1-r)^(d-i) for i up to d, ``(..., d + 1)``."""
        channel = self.slot
        assert isinstance(channel, Channel)
        assert isinstance(channel.strength, Slot)
        left = remaining(channel.name, strengths[..., channel.strength.number, None].to(like))
        up = torch.arange(self.degree + 1, device=like.device, dtype=like.dtype)
        return left**up * (1 - left) ** (self.degree - up)


def _terms(one: Block, base: int) -> tuple[NDArray[np.float64], Array]:
    """Return signs ``(R, m)`` and terms ``(degrees, R, D, D)`` of a block with m rotations."""
    wires = len(one.wires)
    terms = np.eye(base**wires, dtype=complex)[None, None]
    signs = np.zeros((1, 0))
    for operation in one.operations:
        if isinstance(operation, Channel):
            factors = [
                placed(factor.astype(complex), operation.wires, wires, base)
                for factor in CHANNELS[operation.name]
            ]
            if not isinstance(operation.strength, Slot):
                r, up = remaining(operation.name, operation.strength), np.arange(len(factors))
                factors = [np.tensordot(r**up * (1 - r) ** up[::-1], factors, 1)]
            longer = np.zeros((len(terms) + len(factors) - 1, *terms.shape[1:]), complex)
            for i, factor in enumerate(factors):
                longer[i : i + len(terms)] += factor @ terms
            terms = longer
        elif operation.name in AXES:
            own, parts = rotation(AXES[operation.name], base)
            whole = np.stack([placed(part, operation.wires, wires, base) for part in parts])
            terms = (whole[:, None] @ terms[:, None]).reshape(len(terms), -1, *terms.shape[-2:])
            added = np.repeat(own, len(signs))[:, None]
            signs = np.concatenate([np.tile(signs, (len(own), 1)), added], 1)
        else:
            terms = placed(constant(operation, base), operation.wires, wires, base) @ terms
    return signs, terms


def _in_waves(signs: NDArray[np.float64], terms: Array) -> tuple[Array, NDArray[np.float64]]:
    """Return what goes with cosines and sines, ``(degrees·2F, D, D)``, and signs ``(m, F)``.

    exp(ib) P + exp(-ib) Q = cos b (P + Q) + i sin b (P - Q). Without rotations 2F is 1.
    """
    if not signs.size:
        return terms[:, 0], signs.T
    numbers = {tuple(row): i for i, row in enumerate(signs)}
    leading = signs @ 3.0 ** -np.arange(signs.shape[1])  # has the sign of the first that is not 0
    kept = np.flatnonzero(leading >= 0)
    opposite = [numbers[tuple(-signs[i])] for i in kept]
    p, q = terms[:, kept], terms[:, opposite]
    cosines = np.where((leading[kept] == 0)[:, None, None], p, p + q)
    table = np.concatenate([cosines, 1j * (p - q)], 1)
    return table.reshape(-1, *table.shape[-2:]), signs[kept].T


def formed(matrices: Array, form: Form) -> NDArray[np.float64] | Array:
    """Return matrices ``(R, D, D)`` in a form."""
    if form == "complex":
        return matrices
    if form != "stacked":
        return matrices.real
    parts = np.array([[matrices.real, -matrices.imag], [matrices.imag, matrices.real]])
    doubled = parts.transpose(2, 3, 0, 4, 1)
    return doubled.reshape(len(matrices), 2 * matrices.shape[-1], -1)
