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
from functools import cache

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from qmoe_fed.circuits.blocks import Edges, Form, Matrices
from qmoe_fed.circuits.circuit import Circuit
from qmoe_fed.circuits.frames import as_complex, as_real, basis, phases, segments
from qmoe_fed.circuits.fuse import Block, go_together, slotted
from qmoe_fed.circuits.operations import Angle, Operation
from qmoe_fed.circuits.schedule import is_real, primitives
from qmoe_fed.circuits.tables import Constant, Linear, waves
from qmoe_fed.circuits.transfer import kron

LARGEST = 2**16
"""Most numbers in a table, where it can be cut into several."""

Array = NDArray[np.float64]


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
        bases = [basis(qubits, segment.turns, form) for segment in found]
        size = len(bases[0][0])

        def linear(numbers: Sequence[int], of_x: bool) -> Linear:
            angles = [a for i in numbers for a in found[i].angles(qubits, of_x)]
            mix = np.zeros((len(angles), len(numbers) * size // 2))
            for k, i in enumerate(numbers):
                mix[k * qubits : (k + 1) * qubits, k * size // 2 : (k + 1) * size // 2] = bases[i][
                    1
                ]
            return Linear(angles, circuit.features, circuit.parameters, mix)

        of_x = [any(a.features for a in s.angles(qubits, True)) for s in found]
        kinds = [
            (sorted((j, axis) for j, (axis, _) in s.turns.items()), s.angles(qubits, True))
            for s in found
        ]
        self.alike = [
            kinds.index(kind) if own else -1 for kind, own in zip(kinds, of_x, strict=True)
        ]
        self.embeddings = {i: linear([i], True) for i in set(self.alike) - {-1}}
        self.turning = [
            i for i, s in enumerate(found) if any(a != Angle() for a in s.angles(qubits, False))
        ]
        self.turns = linear(self.turning, False) if self.turning else None
        self.once = not any(of_x[1:])
        zero = np.array([[1, 0, 0, 1]] if form == "pauli" else [[1, 0]], complex)
        start = np.eye(1, size) if form == "stacked" else kron([zero] * qubits).real
        start = start @ bases[0][0].T
        # The same number for all z is put into the first matrix.
        z = start.view(np.complex128)
        even = z[0, 0].real if form == "real" and np.allclose(z, z[0, 0]) else 1.0
        self.start = Constant(z) if even == 1 else None
        # (cos ω, sin ω) of the first embedding to the state
        rotated = np.stack([start.reshape(-1, 2), start.reshape(-1, 2)[:, ::-1] * [-1, 1]])
        self.first = Constant(
            (rotated[..., None] * bases[0][0].reshape(-1, 2, size)).sum(2).reshape(size, size)
        )
        self.multiplied = len(found) == 1 and not self.turning
        blocks: list[Block] = []
        edges: list[Edges] = []
        self.ends: list[int] = []  # how many blocks there are up to the end of each segment
        for number, segment in enumerate(found):
            each = _cut(segment.others, qubits, size, form)
            if not self.multiplied:
                each = each or [Block(tuple(range(qubits)), ())]
                around: list[Edges] = [(None, None)] * len(each)
                around[0] = bases[number][0] * (1 if number else even), None
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
        backwards = (
            self.once and self.outputs < x.shape[-2] and self.outputs < len(self.first.values)
        )
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
        z = None if self.start is None else self.start(x)
        if backwards:
            assert z is not None  # it is for mixed states only
            z = z * embeddings[0] if 0 in embeddings else z
            observables = matrices[-1].mT.contiguous()
            for number in reversed(range(len(self.ends))):
                begin = self.ends[number - 1] if number else 0
                for k in reversed(range(begin, self.ends[number])):
                    if k < len(matrices) - 1:
                        observables = observables @ matrices[k].mT
                if number in factors:
                    observables = as_real(as_complex(observables) * factors[number])
            return as_real(z) @ observables.mT
        done, state = 0, x
        for number, end in enumerate(self.ends):
            if number:
                z = as_complex(state)
            for factor in (embeddings.get(self.alike[number]), factors.get(number)):
                z = z if factor is None else factor if z is None else z * factor
            assert z is not None
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
    if n > (MOST_QUBITS_BY_PHASES if by_phases else MOST_QUBITS[form]):
        return None
    return Whole(circuit, n, operations, form, by_phases)


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
