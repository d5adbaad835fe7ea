"""Circuits of few qubits, multiplied out: all between embeddings is a matrix on the whole state.

Between embeddings of x, all that happens to the state, a row vector, is a matrix that is the same
for all samples (``blocks``). An embedding turns qubits about axes; in the eigenbasis of all these
it multiplies pairs (u, v) by exp(iω(x)), that is, (u, v) → cos ω (u, v) + sin ω (-v, u). The
change to (u, v, -v, u) is put into the matrix before, the sum into the one after. What is left of
an embedding is one product with (cos, cos, sin, sin), the same wherever x is embedded alike. Pure
states and mixed ones differ in the matrices only.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qmoe_fed.circuits.blocks import Block, Form, Matrices, formed, go_together
from qmoe_fed.circuits.circuit import Circuit
from qmoe_fed.circuits.operations import Angle, Gate, Operation, gate
from qmoe_fed.circuits.schedule import AXES, is_real, of_x, primitives
from qmoe_fed.circuits.tables import Constant, Linear
from qmoe_fed.circuits.transfer import kron, rotation

LARGEST = 2**17
"""Most numbers in a table, where it can be cut into several."""

Array = NDArray[np.float64]


@dataclass
class Segment:
    """An embedding, axis and angle of the wires that turn, and what follows up to the next one."""

    turns: dict[int, tuple[str, Angle]] = field(default_factory=dict)
    others: list[Operation] = field(default_factory=list)


class Whole:
    """A circuit's operations on a row vector, and what is read from it.

    Args:
        circuit: Says how many features and parameters there are.
        qubits: Number of qubits.
        operations: Primitives without amplitude embedding.
        form: ``real``, ``stacked`` or ``pauli``.
        readout: Matrix ``(D, M)`` from the state to what is returned; the state if None.
    """

    def __init__(
        self,
        circuit: Circuit,
        qubits: int,
        operations: Sequence[Operation],
        form: Form,
        readout: Array | None = None,
    ) -> None:
        found = segments(operations)
        frames = [_frame(qubits, segment.turns, form) for segment in found]
        self.framed = len(found) > 1
        self.embeddings = [
            Linear(angles, circuit.features, circuit.parameters, signs)
            for angles, signs in (_angles(qubits, s.turns, f) for s, f in zip(found, frames))
        ]
        alike = [(tuple(sorted(segment.turns.items()))) for segment in found]
        self.alike = [alike.index(one) for one in alike]
        size = len(frames[0].basis)
        start = np.zeros((1, size))
        start[0, 0] = 1
        if form == "pauli":
            start = kron([np.array([[1.0, 0, 0, 1]])] * qubits)
        into = start @ frames[0].into
        self.first = Constant(into if self.framed else _shortened(into.T * frames[0].back))
        if self.framed:
            half = np.concatenate([frames[-1].basis, 0 * frames[-1].basis])
            readout = half if readout is None else half @ readout
        self.last = None if readout is None else Constant(readout)
        self.shrinks = readout is not None and not self.framed
        blocks: list[Block] = []
        edges: list[tuple[Array | None, Array | None]] = []
        self.ends: list[int] = []  # how many blocks there are before each embedding but the first
        for number, segment in enumerate(found):
            each = _cut(segment.others, qubits, size * (1 + self.framed), form)
            if self.framed:
                each = each or [Block(tuple(range(qubits)), ())]
                after = frames[min(number + 1, len(frames) - 1)]
                edges += [(None, None)] * len(each)
                edges[len(blocks)] = frames[number].back, edges[len(blocks)][1]
                edges[-1] = edges[-1][0], after.into
            blocks += each
            self.ends.append(len(blocks))
        self.matrices = Matrices(circuit, blocks, form, edges or [(None, None)] * len(blocks))

    def __call__(self, x: Tensor, theta: Tensor, strengths: Tensor) -> Tensor:
        """Return what is read, ``(..., B or 1, M)``."""
        matrices = self.matrices(x, theta, strengths)
        if not self.framed:
            angles = self.embeddings[0](x, theta)
            psi = torch.cat([angles.cos(), angles.sin()], -1) @ self.first(x)
            psi = psi if psi.dim() > 1 else psi.unsqueeze(0)
            if self.last is None:
                for matrix in matrices:
                    psi = psi @ matrix
                return psi
            observables = self.last(x)
            if observables.shape[-1] < psi.shape[-2]:
                for matrix in reversed(matrices):
                    observables = matrix @ observables
                return psi @ observables
        waves: dict[int, Tensor] = {}
        psi = self.first(x)
        done = 0
        for number, end in enumerate(self.ends):
            alike = self.alike[number]
            if alike not in waves:
                angles = self.embeddings[alike](x, theta)
                cosine, sine = angles.cos(), angles.sin()
                waves[alike] = torch.cat([cosine, cosine, sine, sine], -1)
            psi = psi * waves[alike]
            for matrix in matrices[done:end]:
                psi = psi @ matrix
            done = end
        assert self.last is not None
        return psi @ self.last(x)


MOST_QUBITS = {"real": 4, "stacked": 3}
"""For how many it is the fastest way; tables grow as 8^n and faster."""


@cache
def of_circuit(circuit: Circuit) -> Whole | None:
    """Return a circuit's state multiplied out, if its qubits are few and it embeds angles only."""
    form: Form = "real" if is_real(circuit) else "stacked"
    operations = primitives(circuit)
    fits = not any(operation.name == "amplitude-embedding" for operation in operations)
    if not fits or circuit.qubits > MOST_QUBITS[form]:
        return None
    return Whole(circuit, circuit.qubits, operations, form)


def segments(operations: Sequence[Operation]) -> list[Segment]:
    """Return operations, without amplitude embedding, as segments."""
    found, touched = [Segment()], set[int]()
    for operation in operations:
        if isinstance(operation, Gate) and of_x(operation):
            (wire,), (angle,) = operation.wires, operation.angles
            if wire in touched:
                found.append(Segment())
                touched = set()
            found[-1].turns[wire] = AXES[operation.name], Angle(features=angle.features)
            touched.add(wire)
            rest = Angle(angle.constant, parameters=angle.parameters)
            if rest == Angle():
                continue
            operation = gate(operation.name, wire, rest)
        found[-1].others.append(operation)
        touched |= set(operation.wires)
    return found


def _cut(operations: Sequence[Operation], qubits: int, width: int, form: Form) -> list[Block]:
    """Return operations as blocks on all qubits, of few kinds."""
    terms, every = 3 if form == "pauli" else 2, tuple(range(qubits))
    best: list[Block] = []
    for turns in range(1, len(operations) + 1):
        if turns > 1 and terms**turns * width**2 > LARGEST:
            break
        runs: list[list[Operation]] = []
        for operation in operations:
            if runs and go_together([*runs[-1], operation], turns):
                runs[-1].append(operation)
            else:
                runs.append([operation])
        blocks = [Block(every, tuple(run)) for run in runs]
        if not best or _steps(blocks) <= _steps(best):
            best = blocks
    return best


def _steps(blocks: list[Block]) -> int:
    """Return what blocks cost, in operations of torch."""
    return len(blocks) + 5 * len({block.kind for block in blocks})


@dataclass(frozen=True, eq=False)
class _Frame:
    """The basis of an embedding, rows (u, v), and the changes around the product with waves."""

    basis: Array
    signs: Array  # of every pair, (wires, D / 2)

    @property
    def into(self) -> Array:
        u, v = np.split(self.basis.T, 2, 1)
        return np.concatenate([u, v, -v, u], 1)

    @property
    def back(self) -> Array:
        return np.concatenate([self.basis, self.basis])


def _frame(qubits: int, turns: dict[int, tuple[str, Angle]], form: Form) -> _Frame:
    base = 4 if form == "pauli" else 2
    each = [_rows(turns[j][0], base) if j in turns else (np.zeros(base), np.eye(base)) for j in range(qubits)]
    rows = np.asarray(kron([rows for _, rows in each]))
    signs = np.stack(np.meshgrid(*(signs for signs, _ in each), indexing="ij")).reshape(qubits, -1)
    if form == "stacked":
        both = formed(rows[None], form)[0]
        return _Frame(np.concatenate([both[::2], both[1::2]]), signs)
    leading = 3.0 ** -np.arange(qubits) @ signs  # has the sign of the first that is not 0
    still, half = rows[leading == 0].real, np.sqrt(2) * rows[leading > 0]
    signs = np.concatenate([np.zeros((qubits, len(still) // 2)), signs[:, leading > 0]], 1)
    return _Frame(np.concatenate([still[::2], half.real, still[1::2], half.imag]), signs)


def _rows(axis: str, base: int) -> tuple[Array, NDArray[np.complex128]]:
    """Return s and rows l, such that l times a rotation by a is exp(isa) l."""
    signs, rows = [], []
    for sign, part in zip(*rotation(axis, base), strict=True):
        rank = round(part.trace().real)
        own = part[np.flatnonzero(part.diagonal().real > 0.4)[:rank]]
        signs += [sign] * rank
        rows += list(own / np.linalg.norm(own, axis=1, keepdims=True))
    return np.array(signs), np.array(rows)


def _angles(
    qubits: int, turns: dict[int, tuple[str, Angle]], frame: _Frame
) -> tuple[list[Angle], Array]:
    return [turns[j][1] if j in turns else Angle() for j in range(qubits)], frame.signs


def _shortened(table: Array) -> Array:
    """Return for (cos, sin) what is for (cos, cos, sin, sin)."""
    a, b, c, d = np.split(table, 4)
    return np.concatenate([a + b, c + d])
