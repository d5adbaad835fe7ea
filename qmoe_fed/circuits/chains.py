"""Products of gates on one qubit, many at once.

exp(-iaσ/2) is Σ± exp(∓ia/2)·(1±σ)/2, so a product of m rotations, with constant matrices between
them, has entries that are linear in the 2^m cosines and sines of (a₁ ± a₂ ± … ± aₘ)/2. Chains of
the same kinds of gates are computed together.
"""

from collections.abc import Sequence
from functools import reduce
from itertools import groupby, product

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qmoe_fed.circuits.circuit import Circuit
from qmoe_fed.circuits.operations import Gate, Operation, fixed_matrix
from qmoe_fed.circuits.schedule import AXES
from qmoe_fed.circuits.tables import Constant, Linear

PAULI = {
    "x": np.array([[0, 1], [1, 0]], complex),
    "y": np.array([[0, -1j], [1j, 0]]),
    "z": np.diag([1, -1]).astype(complex),
}
MOST_TURNS = 3
"""Most rotations multiplied out: there are 2^m waves."""

Chain = Sequence[Operation]


class Chains:
    """The matrices of chains, ``(..., B or 1, len(chains), 2, 2)``: B if x is in one of them."""

    def __init__(self, circuit: Circuit, chains: Sequence[Chain]) -> None:
        cut = [_cut(chain) for chain in chains]
        kinds = [tuple(map(_kind, segments)) for segments in cut]
        groups = list(dict.fromkeys(kinds))
        members = [[i for i, kind in enumerate(kinds) if kind == group] for group in groups]
        self.groups = [
            [_Segments(circuit, [cut[i][s] for i in own]) for s in range(len(group))]
            for group, own in zip(groups, members, strict=True)
        ]
        order = np.argsort([i for own in members for i in own])
        self.order = None if len(groups) == 1 else Constant(order)
        self.of_x = any(segment.of_x for group in self.groups for segment in group)

    def matrices(self, x: Tensor, theta: Tensor) -> Tensor:
        """Return the matrices; arguments as ``Linear``."""
        return self._joined([_product(self._maps(group, x, theta)) for group in self.groups])

    def vectors(self, x: Tensor, theta: Tensor) -> Tensor:
        """Return what becomes of state 0, ``(..., B or 1, len(chains), 2)``."""
        states = []
        for group in self.groups:
            first, *others = self._maps(group, x, theta)
            state = first[..., 0]
            for matrix in others:
                state = (matrix * state.unsqueeze(-2)).sum(-1)
            states.append(state.unsqueeze(-1))
        return self._joined(states).squeeze(-1)

    def _maps(self, group: list["_Segments"], x: Tensor, theta: Tensor) -> list[Tensor]:
        return [segment(x, theta) for segment in group]

    def _joined(self, parts: list[Tensor]) -> Tensor:
        if self.order is None:
            return parts[0]
        lead = torch.broadcast_shapes(*(part.shape[:-3] for part in parts))
        dtype = reduce(torch.promote_types, (part.dtype for part in parts))
        whole = torch.cat([p.to(dtype).expand(*lead, *p.shape[-3:]) for p in parts], -3)
        return whole.index_select(-3, self.order(whole))


class _Segments:
    """Segments of the same kinds of gates from several chains, multiplied out."""

    def __init__(self, circuit: Circuit, segments: Sequence[Chain]) -> None:
        turns = [[o.angles[0] for o in chain if o.name in AXES] for chain in segments]
        table, signs = _table(segments[0])
        mix = np.kron(np.eye(len(segments)), signs)
        angles = [angle for chain in turns for angle in chain]
        self.size = len(segments), signs.shape[1]
        self.phases = Linear(angles, circuit.features, circuit.parameters, mix)
        self.real = not table.imag.any()
        self.table = Constant(
            table.real
            if self.real
            else np.stack([table.real, table.imag], -1).reshape(len(table), -1)
        )
        self.of_x = self.phases.x is not None

    def __call__(self, x: Tensor, theta: Tensor) -> Tensor:
        phases = self.phases(x, theta).unflatten(-1, self.size)
        values = torch.cat([phases.cos(), phases.sin()], -1) @ self.table(x)
        if self.real:
            return values.unflatten(-1, (2, 2))
        return torch.view_as_complex(values.unflatten(-1, (2, 2, 2)))


def _cut(chain: Chain) -> list[list[Gate]]:
    """Return a chain in segments of few rotations, whose angles all depend on x or none does."""

    def depends(operation: Gate) -> bool:
        return any(angle.features for angle in operation.angles)

    segments: list[list[Gate]] = [[]]
    gates = [operation for operation in chain if isinstance(operation, Gate)]
    for _, run in groupby(gates, depends):
        members = list(run)
        for start in range(0, len(members), MOST_TURNS):
            segments.append(members[start : start + MOST_TURNS])
    return segments[1:] or segments


def _kind(segment: Sequence[Gate]) -> tuple[object, ...]:
    return tuple((o.name, o.matrix, any(a.features for a in o.angles)) for o in segment)


def _table(segment: Chain) -> tuple[NDArray[np.complex128], NDArray[np.float64]]:
    """Return T ``(2^m, 4)`` and signs ``(m, 2^m / 2)``: the map is (cos, sin)(angles · signs) T."""
    count = sum(operation.name in AXES for operation in segment)
    if not count:
        fixed = _multiplied(segment, ()).reshape(1, 4)
        return np.concatenate([fixed, 0 * fixed]), np.zeros((0, 1))
    patterns = [(1, *rest) for rest in product((1, -1), repeat=count - 1)]
    plus = np.array([_multiplied(segment, s).ravel() for s in patterns])
    minus = np.array([_multiplied(segment, tuple(-e for e in s)).ravel() for s in patterns])
    # exp(-ib) P + exp(ib) Q = cos b (P + Q) - i sin b (P - Q)
    return np.concatenate([plus + minus, -1j * (plus - minus)]), np.array(patterns).T / 2


def _multiplied(segment: Chain, signs: tuple[int, ...]) -> NDArray[np.complex128]:
    """Return the product of constant matrices and of (1 + sσ)/2 for each rotation about σ."""
    result, left = np.eye(2, dtype=complex), iter(signs)
    for operation in segment:
        if operation.name in AXES:
            factor = (np.eye(2) + next(left) * PAULI[AXES[operation.name]]) / 2
        else:
            assert isinstance(operation, Gate)
            factor = fixed_matrix(operation)
        result = factor @ result
    return result


def _product(maps: list[Tensor]) -> Tensor:
    """Return the product of 2×2 matrices, the first one applied first."""
    whole, *others = maps
    for matrix in others:  # elementwise: faster for 2×2 than as a batched GEMM
        whole = (matrix.unsqueeze(-1) * whole.unsqueeze(-3)).sum(-2)
    return whole
