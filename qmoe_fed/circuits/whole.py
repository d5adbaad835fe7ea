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
from functools import cache, reduce
from itertools import islice

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from qmoe_fed.circuits.blocks import Edges, Form, Matrices
from qmoe_fed.circuits.frames import as_complex, as_real, basis, phases, segments
from qmoe_fed.circuits.operations import Angle, Operation
from qmoe_fed.circuits.schedule import Block, Part, filled, go_together, slotted
from qmoe_fed.circuits.tables import Constant, Linear, waves
from qmoe_fed.circuits.transfer import kron

LARGEST = 2**16
"""Most numbers in a table, where it can be cut into several."""

Array = NDArray[np.float64]


class Whole:
    """A part's operations on a row vector, and what is read from it.

    Args:
        part: Without amplitude embedding.
        form: ``real``, ``stacked`` or ``pauli``.
        phases: Whether parameters, too, are phases; if not, they are multiplied out.
        readout: Matrix ``(D, M)`` from the state to what is returned; the state if None.
    """

    def __init__(self, part: Part, form: Form, phases: bool, readout: Array | None = None) -> None:
        found, qubits = segments(part.operations, phases), range(len(part.qubits))
        bases = [basis(len(qubits), segment.turns, form) for segment in found]
        size = len(bases[0][0])
        angles = [[s.turns[j][1] if j in s.turns else Angle() for j in qubits] for s in found]
        embedded = [[a.of_x for a in own] for own in angles]
        fixed = [[a.fixed for a in own] for own in angles]
        of_x = [any(a.features for a in own) for own in embedded]
        kinds = [
            ({j: axis for j, (axis, _) in s.turns.items()}, own)
            for s, own in zip(found, embedded, strict=True)
        ]
        self.alike = [kinds.index(k) if own else -1 for k, own in zip(kinds, of_x, strict=True)]
        self.embeddings = {
            i: Linear(embedded[i], part.circuit, bases[i][1]) for i in set(self.alike) - {-1}
        }
        self.turning = [i for i, own in enumerate(fixed) if any(a != Angle() for a in own)]
        count = len(self.turning)
        signs = np.zeros((count, len(qubits), count, size // 2))
        for k, i in enumerate(self.turning):
            signs[k, :, k] = bases[i][1]
        mix = signs.reshape(count * len(qubits), count * size // 2)
        self.turns = Linear([a for i in self.turning for a in fixed[i]], part.circuit, mix)
        zero = np.array([[1, 0, 0, 1]], complex)
        start = kron([zero for _ in qubits]).real if form == "pauli" else np.eye(1, size)
        start = start @ bases[0][0].T
        self.multiplied = len(found) == 1 and not self.turning
        # The same number for all z is put into the first matrix.
        z = start.view(np.complex128)
        even = z[0, 0].real if form == "real" and np.allclose(z, z[0, 0]) else 1.0
        self.start = Constant(z) if even == 1 else None
        # (cos ω, sin ω) of the first embedding to the state, or the state without one
        rotated = np.stack([start.reshape(-1, 2), start.reshape(-1, 2)[:, ::-1] * [-1, 1]])
        first = (rotated[..., None] * bases[0][0].reshape(-1, 2, size)).sum(2).reshape(size, size)
        self.first = Constant(first if of_x[0] else start @ bases[0][0])
        blocks: list[Block] = []
        edges: list[Edges] = []
        self.counts: list[int] = []  # of the blocks of each segment
        rights = [turn.T for turn, _ in bases[1:]] + [readout]
        for number, (segment, right) in enumerate(zip(found, rights, strict=True)):
            each = _cut(segment.others, len(qubits), size, form)
            if self.multiplied:
                edges += [(None, None)] * len(each)
            else:
                each = each or [Block(tuple(qubits), ())]
                left = bases[number][0] * (1 if number else even)
                around = [left, *[None] * (len(each) - 1)], [*[None] * (len(each) - 1), right]
                edges += zip(*around, strict=True)
            blocks += each
            self.counts.append(len(each))
        self.last = Constant(readout) if self.multiplied and readout is not None else None
        self.backwards = not any(of_x[1:]) and readout is not None and readout.shape[1] < size
        self.outputs = size if readout is None else readout.shape[1]
        self.steps = _steps(blocks) + 5 * len(self.embeddings)
        self.matrices = Matrices(part.circuit, blocks, form, edges)

    def __call__(self, x: Tensor, theta: Tensor, strengths: Tensor) -> Tensor:
        """Return what is read, ``(..., B or 1, M)``."""
        matrices = self.matrices(x, theta, strengths)
        backwards = self.backwards and 0 < self.outputs < x.shape[-2]
        embedded = {i: linear(x, theta) for i, linear in self.embeddings.items()}
        if self.multiplied:
            first = self.first(x)
            head = [waves(embedded[0]) @ first if embedded else first]
            steps = matrices if self.last is None else [*matrices, self.last(x)]
        else:
            embedded = {i: phases(angles) for i, angles in embedded.items()}
            turns: dict[int, Tensor] = {}
            if self.turning:
                angles = self.turns(x, theta).unflatten(-1, (len(self.turning), 1, -1))
                each = phases(-angles if backwards else angles).unbind(-3)
                turns = dict(zip(self.turning, each, strict=True))
            head = [] if self.start is None else [self.start(x)]
            head += [embedded[0]] if 0 in embedded else []
            steps, left = [], iter(matrices)
            for number, count in enumerate(self.counts):
                again = number > 0 and self.alike[number] in embedded
                steps += [embedded[self.alike[number]]] if again else []
                steps += [turns[number]] if number in turns else []
                steps += islice(left, count)
        if not backwards:
            return _through([*head, *steps])
        # Observables are fewer than states: they turn backwards.
        if self.multiplied:
            return head[0] @ reduce(lambda right, left: left @ right, reversed(steps))
        observables = [step if step.is_complex() else step.mT for step in reversed(steps)]
        observables[0] = observables[0].contiguous()
        return _through([*head, _through(observables).mT])


def _through(steps: list[Tensor]) -> Tensor:
    """Return what phases, complex, and real matrices make of the rows that come first."""
    rows, *others = steps
    for step in others:
        if step.is_complex():
            rows = (rows if rows.is_complex() else as_complex(rows)) * step
        else:
            rows = (as_real(rows) if rows.is_complex() else rows) @ step
    return as_real(rows) if rows.is_complex() else rows


MOST_QUBITS: dict[Form, int] = {"real": 4, "stacked": 3}
"""For how many all is multiplied out."""

MOST_QUBITS_BY_PHASES = 8
"""The same for real amplitudes by phases: matrices are dense."""


@cache
def of_part(part: Part) -> Whole | None:
    """Return a part without channels, if this is the fastest way to its state."""
    n = len(part.qubits)
    form: Form = "real" if part.is_real else "stacked"
    if any(operation.name == "amplitude-embedding" for operation in part.operations):
        return None
    once = len(segments(part.operations, False)) == 1
    by_phases = form == "real" and not (once and n <= MOST_QUBITS["real"])
    if n > (MOST_QUBITS_BY_PHASES if by_phases else MOST_QUBITS[form]):
        return None
    each = [Whole(p, form, by_phases) for p in (part, filled(part))]
    return min(each, key=lambda one: one.steps)


def _cut(operations: Sequence[Operation], qubits: int, size: int, form: Form) -> list[Block]:
    """Return operations as blocks on all qubits, of few kinds."""
    terms, every = 3 if form == "pauli" else 2, tuple(range(qubits))
    best: list[Block] = []
    for turns in range(1, len(operations) + 1):
        runs: list[list[Operation]] = []
        for operation in operations:
            if runs and go_together([*runs[-1], operation], turns):
                runs[-1].append(operation)
            else:
                runs.append([operation])
        blocks = [Block(every, tuple(run)) for run in runs]
        rows = [terms ** len(b.angles) * (1 + sum(map(slotted, b.operations))) for b in blocks]
        if best and max(rows) * size**2 > LARGEST:
            break
        if not best or _steps(blocks) < _steps(best):
            best = blocks
    return best


def _steps(blocks: list[Block]) -> int:
    """Return what blocks cost, in operations of torch."""
    return len(blocks) + 5 * len({block.kind for block in blocks})
