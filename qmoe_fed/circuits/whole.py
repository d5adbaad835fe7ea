"""Circuits of few qubits as constant matrices and phases, or multiplied out.

Rotations of qubits about one axis each commute. In their common eigenbasis they multiply numbers z
by exp(i Σ sⱼaⱼ), the s of every z being constant. What lies between such layers, channels,
entanglers and the change to the next basis, is one matrix. A state is a real row vector of D
entries, (Re z₁, Im z₁, Re z₂, …) in each basis, so that pure states and mixed ones differ in the
tables only:

- ``real`` amplitudes, turned about y only: z at s and -s are conjugate, so half of them says all;
- complex amplitudes, ``stacked`` as (Re, Im);
- ``pauli``: 4^n coefficients. A rotation mixes two components of a qubit, u and v, and multiplies
  u ± iv by exp(±ia); s = 0 for the other two. Again half of z says all.

Where x is embedded only once and qubits are very few, all that follows is cheapest as one matrix
that is linear in cosines and sines of sums of angles (``blocks``).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qmoe_fed.circuits.blocks import Block, Edges, Form, Matrices, formed, go_together
from qmoe_fed.circuits.circuit import Circuit
from qmoe_fed.circuits.operations import Angle, Gate, Operation, gate
from qmoe_fed.circuits.schedule import AXES, is_real, of_x, primitives
from qmoe_fed.circuits.tables import Constant, Linear, waves
from qmoe_fed.circuits.transfer import kron, rotation

LARGEST = 2**17
"""Most numbers in a table, where it can be cut into several."""

Array = NDArray[np.float64]
Turns = dict[int, tuple[str, Angle]]


@dataclass
class Segment:
    """Axis and angle of the wires that turn, and what follows before other wires turn."""

    turns: Turns = field(default_factory=dict)
    others: list[Operation] = field(default_factory=list)

    def angles(self, qubits: int, of_x: bool) -> tuple[Angle, ...]:
        """Return what of every wire's angle depends on x, or the rest."""
        whole = [self.turns[j][1] if j in self.turns else Angle() for j in range(qubits)]
        return tuple(a.of_x if of_x else a.fixed for a in whole)


class Whole:
    """A circuit's operations on a row vector, and what is read from it.

    Args:
        circuit: Says how many features and parameters there are.
        qubits: Number of qubits.
        operations: Primitives without amplitude embedding.
        form: ``real``, ``stacked`` or ``pauli``.
        phases: Whether parameters, too, are phases; if not, they are multiplied out.
        readout: Matrix ``(D, M)`` from the state to what is returned; the state if None.
    """

    def __init__(
        self,
        circuit: Circuit,
        qubits: int,
        operations: Sequence[Operation],
        form: Form,
        phases: bool,
        readout: Array | None = None,
    ) -> None:
        self.segments = found = segments(operations, phases)
        bases = [_basis(qubits, segment.turns, form) for segment in found]
        size = len(bases[0][0])

        def linear(numbers: Sequence[int], of_x: bool) -> Linear:
            angles = [a for i in numbers for a in found[i].angles(qubits, of_x)]
            mix = np.zeros((len(angles), len(numbers) * size // 2))
            for k, i in enumerate(numbers):
                mix[k * qubits : (k + 1) * qubits, k * size // 2 : (k + 1) * size // 2] = bases[i][1]
            return Linear(angles, circuit.features, circuit.parameters, mix)

        of_x = [any(a.features for a in s.angles(qubits, True)) for s in found]
        kinds = [(sorted((j, axis) for j, (axis, _) in s.turns.items()), s.angles(qubits, True)) for s in found]
        self.alike = [kinds.index(kind) if own else -1 for kind, own in zip(kinds, of_x, strict=True)]
        self.embeddings = {i: linear([i], True) for i in set(self.alike) - {-1}}
        self.turning = [i for i, s in enumerate(found) if any(a != Angle() for a in s.angles(qubits, False))]
        self.turns = linear(self.turning, False) if self.turning else None
        self.once = not any(of_x[1:])
        start = np.eye(1, size) if form != "pauli" else kron([np.array([[1.0, 0, 0, 1]])] * qubits)
        start = start @ bases[0][0].T
        self.start = Constant(start.view(np.complex128))
        # (cos ω, sin ω) of the first embedding to the state
        rotated = np.stack([start.reshape(-1, 2), start.reshape(-1, 2)[:, ::-1] * [-1, 1]])
        self.first = Constant((rotated[..., None] * bases[0][0].reshape(-1, 2, size)).sum(2).reshape(size, size))
        self.multiplied = len(found) == 1 and not self.turning
        blocks: list[Block] = []
        edges: list[Edges] = []
        self.ends: list[int] = []  # how many blocks there are up to the end of each segment
        for number, segment in enumerate(found):
            each = _cut(segment.others, qubits, size, form)
            if not self.multiplied:
                each = each or [Block(tuple(range(qubits)), ())]
                around: list[Edges] = [(None, None)] * len(each)
                around[0] = bases[number][0], None
                right = bases[number + 1][0].T if number + 1 < len(found) else readout
                around[-1] = around[-1][0], right
            else:
                around = [(None, None)] * len(each)
            blocks += each
            edges += around
            self.ends.append(len(blocks))
        self.last = Constant(readout) if self.multiplied and readout is not None else None
        self.outputs = size if readout is None else readout.shape[1]
        self.matrices = Matrices(circuit, blocks, form, edges)

    def __call__(self, x: Tensor, theta: Tensor, strengths: Tensor) -> Tensor:
        """Return what is read, ``(..., B or 1, M)``."""
        matrices = self.matrices(x, theta, strengths)
        backwards = self.once and self.outputs < x.shape[-2] and self.outputs < len(self.first.values)
        if self.multiplied:
            psi = self._embedded(x, theta)
            if self.last is not None and backwards:
                observables = self.last(x)
                for matrix in reversed(matrices):
                    observables = matrix @ observables
                return psi @ observables
            for matrix in matrices:
                psi = psi @ matrix
            return psi if self.last is None else psi @ self.last(x)
        factors: dict[int, Tensor] = {}
        if self.turns is not None:
            angles = self.turns(x, theta).unflatten(-1, (len(self.turning), 1, -1))
            each = phases(-angles if backwards else angles).unbind(-3)
            factors = dict(zip(self.turning, each, strict=True))
        embeddings = {i: phases(linear(x, theta)) for i, linear in self.embeddings.items()}
        z = self.start(x)
        if backwards:
            z = z * embeddings[0] if self.once and 0 in embeddings else z
            observables = matrices[-1].mT.contiguous()
            for number in reversed(range(len(self.ends))):
                begin = self.ends[number - 1] if number else 0
                for k in reversed(range(begin, self.ends[number])):
                    if k < len(matrices) - 1:
                        observables = observables @ matrices[k].mT
                if number in factors:
                    observables = as_real(as_complex(observables) * factors[number])
            return as_real(z) @ observables.mT
        done, state = 0, as_real(z)
        for number, end in enumerate(self.ends):
            if number:
                z = as_complex(state)
            for factor in (embeddings.get(self.alike[number]), factors.get(number)):
                z = z if factor is None else z * factor
            state = as_real(z)
            for matrix in matrices[done:end]:
                state = state @ matrix
            done = end
        return state

    def _embedded(self, x: Tensor, theta: Tensor) -> Tensor:
        """Return the state after the first embedding, ``(..., B or 1, D)``."""
        if 0 not in self.embeddings:
            first = self.first(x)
            return first[: len(first) // 2].sum(0, keepdim=True)
        return waves(self.embeddings[0](x, theta)) @ self.first(x)


MOST_QUBITS: dict[Form, int] = {"real": 4, "stacked": 3}
"""For how many all is multiplied out."""

MOST_QUBITS_BY_PHASES = 8
"""The same for real amplitudes by phases: matrices are dense."""


@cache
def of_circuit(circuit: Circuit) -> Whole | None:
    """Return a circuit without channels, if this is the fastest way to its state."""
    operations, n = primitives(circuit), circuit.qubits
    form: Form = "real" if is_real(circuit) else "stacked"
    if any(operation.name == "amplitude-embedding" for operation in operations):
        return None
    once = len(segments(operations, False)) == 1
    by_phases = form == "real" and not (once and n <= MOST_QUBITS["real"])
    if n > (MOST_QUBITS_BY_PHASES - 2 * once if by_phases else MOST_QUBITS[form]):
        return None
    return Whole(circuit, n, operations, form, by_phases)


def phases(angles: Tensor) -> Tensor:
    """Return exp(i·angles)."""
    return torch.complex(angles.cos(), angles.sin())


def as_real(z: Tensor) -> Tensor:
    """Return (Re z₁, Im z₁, Re z₂, …), shape ``(..., K)`` → ``(..., 2K)``."""
    return torch.view_as_real(z).flatten(-2)


def as_complex(values: Tensor) -> Tensor:
    """Return the complex numbers of which ``as_real`` gives these values."""
    return torch.view_as_complex(values.unflatten(-1, (-1, 2)))


def segments(operations: Sequence[Operation], phases: bool) -> list[Segment]:
    """Return operations, without amplitude embedding, as segments.

    Rotations turn wires if x is in their angles, and if ``phases``, all of them.
    """
    found, touched = [Segment()], set[int]()
    for operation in operations:
        if isinstance(operation, Gate) and (of_x(operation) or (phases and operation.name in AXES)):
            (wire,), (angle,) = operation.wires, operation.angles
            if wire in touched:
                found.append(Segment())
                touched = set()
            rest = Angle() if phases else angle.fixed
            found[-1].turns[wire] = AXES[operation.name], angle - rest
            touched.add(wire)
            if rest == Angle():
                continue
            operation = gate(operation.name, wire, rest)
        found[-1].others.append(operation)
        touched |= set(operation.wires)
    return found


def _cut(operations: Sequence[Operation], qubits: int, size: int, form: Form) -> list[Block]:
    """Return operations as blocks on all qubits, of few kinds."""
    terms, every = 3 if form == "pauli" else 2, tuple(range(qubits))
    best: list[Block] = []
    for turns in range(1, len(operations) + 1):
        if turns > 1 and terms**turns * size**2 > LARGEST:
            break
        runs: list[list[Operation]] = []
        for operation in operations:
            if runs and go_together([*runs[-1], operation], turns):
                runs[-1].append(operation)
            else:
                runs.append([operation])
        blocks = [Block(every, tuple(run)) for run in runs]
        if not best or _steps(blocks) < _steps(best):
            best = blocks
    return best


def _steps(blocks: list[Block]) -> int:
    """Return what blocks cost, in operations of torch."""
    return len(blocks) + 5 * len({block.kind for block in blocks})


def _basis(qubits: int, turns: Turns, form: Form) -> tuple[Array, Array]:
    """Return the orthogonal matrix to (Re z₁, Im z₁, …), ``(D, D)``, and s, ``(n, D / 2)``."""
    base = 4 if form == "pauli" else 2
    each = [
        _rows(turns[j][0], base) if j in turns else (np.zeros(base), np.eye(base))
        for j in range(qubits)
    ]
    rows = np.asarray(kron([rows for _, rows in each]))
    signs = np.stack(np.meshgrid(*(own for own, _ in each), indexing="ij")).reshape(qubits, -1)
    if form == "stacked":
        return np.asarray(formed(rows[None].astype(complex), form)[0]), signs
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
