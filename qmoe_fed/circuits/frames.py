"""Bases in which rotations are phases, and operations cut into what turns and what does not."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qmoe_fed.circuits.blocks import Form, formed
from qmoe_fed.circuits.operations import Angle, Gate, Operation, gate
from qmoe_fed.circuits.schedule import AXES, of_x
from qmoe_fed.circuits.transfer import kron, rotation

Array = NDArray[np.float64]
Turns = dict[int, tuple[str, Angle]]


@dataclass
class Segment:
    """Axis and angle of the wires that turn, and what follows before other wires turn."""

    turns: Turns = field(default_factory=dict)
    others: list[Operation] = field(default_factory=list)


def segments(operations: Sequence[Operation], phases: bool) -> list[Segment]:
    """Return operations, without amplitude embedding, as segments.

    Rotations turn wires if x is in their angles, and if ``phases``, all of them.
    """
    found = [Segment()]
    last: dict[int, int] = {}  # segment in which a wire was busy last
    for operation in operations:
        level = max(0, *(last.get(wire, -1) for wire in operation.wires))
        if isinstance(operation, Gate) and (of_x(operation) or (phases and operation.name in AXES)):
            (wire,), (angle,) = operation.wires, operation.angles
            level = last.get(wire, -1) + 1
            if level == len(found):
                found.append(Segment())
            rest = Angle() if phases else angle.fixed
            found[level].turns[wire] = AXES[operation.name], angle - rest
            last[wire] = level
            if rest == Angle():
                continue
            operation = gate(operation.name, wire, rest)
        found[level].others.append(operation)
        last |= dict.fromkeys(operation.wires, level)
    return found


def basis(qubits: int, turns: Turns, form: Form) -> tuple[Array, Array]:
    """Return the orthogonal matrix to (Re z₁, Im z₁, …), ``(D, D)``, and s, ``(n, D / 2)``."""
    base = 4 if form == "pauli" else 2
    each = [
        _rows(turns[j][0], base) if j in turns else (np.zeros(base), np.eye(base, dtype=complex))
        for j in range(qubits)
    ]
    rows = kron([rows for _, rows in each])
    signs = np.stack(np.meshgrid(*(own for own, _ in each), indexing="ij")).reshape(qubits, -1)
    if form == "stacked":
        return np.asarray(formed(rows[None], form)[0].real), signs
    leading = 3.0 ** -np.arange(qubits) @ signs  # has the sign of the first that is not 0
    still, half = rows[leading == 0].real, np.sqrt(2) * rows[leading > 0]
    moved = np.stack([half.real, half.imag], 1).reshape(-1, len(rows))
    unmoved = np.zeros((qubits, len(still) // 2))
    return np.concatenate([still, moved]), np.concatenate([unmoved, signs[:, leading > 0]], 1)


def _rows(axis: str, base: int) -> tuple[Array, NDArray[np.complex128]]:
    """Return s and rows l, such that l times a rotation by a is exp(isa) l."""
    signs, rows = [], []
    for sign, part in zip(*rotation(axis, base), strict=True):
        rank = round(part.trace().real)
        own = part[np.flatnonzero(part.diagonal().real > 0.4)[:rank]]
        signs += [sign] * rank
        rows += list(own / np.linalg.norm(own, axis=1, keepdims=True))
    return np.array(signs), np.array(rows)


def phases(angles: Tensor) -> Tensor:
    """Return exp(i·angles)."""
    return torch.complex(angles.cos(), angles.sin())


def as_real(z: Tensor) -> Tensor:
    """Return (Re z₁, Im z₁, Re z₂, …), shape ``(..., K)`` → ``(..., 2K)``."""
    return torch.view_as_real(z).flatten(-2)


def as_complex(values: Tensor) -> Tensor:
    """Return the complex numbers of which ``as_real`` gives these values."""
    return torch.view_as_complex(values.unflatten(-1, (-1, 2)))
