"""The state of layers of one-qubit maps as a few batched tensor products.

A layer of one map per qubit is a Kronecker product. The qubits are split into groups of at most
``GROUP``; the maps of a group are multiplied out, for all layers and samples at once, and a layer
is then one matrix product per group on the state reshaped to (…, 2^g₁, 2^g₂, …). Entanglers are a
vector of signs (CZ) or a permutation of the basis (CNOT, SWAP). Amplitudes are real where the
circuit allows. Leading dimensions broadcast, and ``torch.func.vmap`` works over it.
"""

from collections.abc import Iterable, Sequence
from functools import cache, reduce
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from qmoe_fed.circuits.blocks import Edges, Form, Matrices
from qmoe_fed.circuits.operations import Operation
from qmoe_fed.circuits.schedule import AXES, Block, Part, block, filled, of_x
from qmoe_fed.circuits.tables import Constant

Chains = tuple[tuple[Operation, ...], ...]
"""The gates on every wire."""

GROUP = 4
"""Most qubits whose maps are multiplied out into one matrix."""

MOST_TURNS = 6
"""Most rotations in one table: it has 2^7 rows per matrix."""

Layer = tuple[Chains, tuple[Operation, ...]]
"""Gates on single wires, which form a chain on each, then CZ, CNOT and SWAP, in order."""


def layers(operations: Iterable[Operation], qubits: int, longest: int) -> list[Layer]:
    """Return the same gates on one or two wires as few layers, at least one.

    Gates on other wires may change places. The rotations of a chain, at most ``longest``, depend
    on features or do not, all of them.
    """
    found: list[tuple[list[list[Operation]], list[Operation]]] = []
    chained, rested = [-1] * qubits, [-1] * qubits  # last layer in which a wire was busy so

    def at(level: int) -> tuple[list[list[Operation]], list[Operation]]:
        while len(found) <= level:
            found.append(([[] for _ in range(qubits)], []))
        return found[level]

    at(0)
    for operation in operations:
        if len(operation.wires) > 1:
            level = max(0, *(max(chained[w], rested[w]) for w in operation.wires))
            at(level)[1].append(operation)
            for w in operation.wires:
                rested[w] = level
            continue
        (wire,) = operation.wires
        level = max(chained[wire], rested[wire] + 1, 0)
        turns = [o for o in at(level)[0][wire] if o.name in AXES]
        if operation.name in AXES and turns:
            level += len(turns) == longest or of_x(turns[0]) != of_x(operation)
        at(level)[0][wire].append(operation)
        chained[wire] = level
    return [(tuple(map(tuple, chains)), tuple(others)) for chains, others in found]


@cache
def fits(part: Part) -> bool:
    """Return whether a part is made of gates on one qubit, CZ, CNOT and SWAP."""
    return all(
        o.name in ("CZ", "CNOT", "SWAP") or (len(o.wires) == 1 and o.name != "amplitude-embedding")
        for o in part.operations
    )


def amplitudes(part: Part, x: Tensor, theta: Tensor) -> Tensor:
    """Return the state, shape ``(..., B or 1, 2^n)``: B if x is in it; qubit 0 is the leading bit.

    Args:
        part: One that ``fits``.
        x: Features in radians, shape ``(..., B, circuit.features)``.
        theta: Shape ``(..., P)``.
    """
    plan, given = _plan(part), (x, theta, x.new_empty(0))
    dtype = x.dtype if part.is_real else x.dtype.to_complex()
    first = plan.first(*given), plan.first.of_x
    rows = [row if of_x else row.unsqueeze(-3) for row, of_x in zip(*first, strict=True)]
    maps: dict[int, list[Tensor]] = {}  # of every kind of layer, one of each group
    groups = list(pairwise(plan.groups))
    if plan.shared:
        length = len(plan.shared)
        units = plan.matrices.stacks(*given, length * (len(groups) if plan.even else 1))
        if plan.even:
            each = list(reduce(kron, units).unbind(-3))
            whole = [each[a : a + length] for a in range(0, len(each), length)]
        else:
            whole = [list(reduce(kron, units[a:b]).unbind(-3)) for a, b in groups]
        maps |= zip(plan.shared, map(list, zip(*whole, strict=True)), strict=True)
    for kind, matrices in plan.of_x.items():
        each = matrices(*given)
        each = [m if of_x else m.unsqueeze(-3) for m, of_x in zip(each, matrices.of_x, strict=True)]
        maps[kind] = [reduce(kron, each[a:b]) for a, b in groups]
    starts = [_product_state(rows[a:b]) for a, b in pairwise(plan.starts)]
    if plan.joined is not None:
        both = zip(starts, maps[plan.joined], strict=True)
        starts = [own.to(dtype) @ one.mT for own, one in both]
    psi = _product_state([own.unsqueeze(-2) for own in starts]).to(dtype)
    size = 2 ** len(part.qubits)
    if not plan.of_x and size < psi.shape[-2]:
        # What follows the embedding is the same for every sample: multiply it out once.
        return psi @ _evolve(plan, torch.eye(size, dtype=dtype, device=psi.device), maps)
    return _evolve(plan, psi, maps)


class _Plan:
    """What is known of a part before its angles."""

    def __init__(self, part: Part) -> None:
        n, circuit = len(part.qubits), part.circuit
        form: Form = "real" if part.is_real else "complex"
        found = layers(filled(part).operations, n, longest=MOST_TURNS // 2)
        self.entanglers = [Entangler(n, gates) for _, gates in found]
        kinds = list(dict.fromkeys(chains for chains, _ in found[1:]))
        self.layers = [kinds.index(chains) for chains, _ in found[1:]]
        width, few = _width(found[1:]), _width(found[:1])
        units = [_units(chains, width) for chains in kinds]
        of_x = [any(unit.of_x for unit in own) for own in units]
        self.shared = [kind for kind, own in enumerate(of_x) if not own]
        count = -(-n // width)
        self.groups = [*range(0, count, GROUP // width), count]  # first unit of each
        chains = found[0][0]
        ends = [*(unit.wires[0] for unit in _units(chains, width)), n]
        each = [_units(chains[ends[a] : ends[b]], few, ends[a]) for a, b in pairwise(self.groups)]
        self.starts = np.cumsum([0, *map(len, each)]).tolist()
        first = [unit for own in each for unit in own]
        rows: list[Edges] = [(np.eye(1, 2 ** len(unit.wires)), None) for unit in first]
        self.first = Matrices(circuit, first, form, rows)
        # Nothing entangles groups before this layer: it is applied to the state of each.
        self.joined: int | None = None
        if self.layers and self.layers[0] in self.shared and not found[0][1]:
            self.joined, *self.layers = self.layers
            self.entanglers = self.entanglers[1:]
        per = GROUP // width
        self.even = n % width == 0 and count % per == 0
        order = [k for u in range(per) for k in range(u, count, per)] if self.even else range(count)
        self.matrices = Matrices(
            circuit, [units[kind][k] for k in order for kind in self.shared], form
        )
        self.of_x = {
            kind: Matrices(circuit, units[kind], form) for kind, own in enumerate(of_x) if own
        }


_plan = cache(_Plan)


def _width(chosen: Sequence[Layer]) -> int:
    """Return how many wires one table may multiply out."""
    turns = [sum(o.name in AXES for o in c) for chains, _ in chosen for c in chains]
    longest = max(turns, default=0)
    return min(GROUP, 2 ** int(np.log2(MOST_TURNS / max(longest, 1))))


def _units(chains: Chains, width: int, start: int = 0) -> list[Block]:
    """Return the chains of neighbours from wire ``start`` on, as blocks of about the same size."""
    bounds = np.linspace(0, len(chains), -(-len(chains) // width) + 1).round().astype(int).tolist()
    return [
        block(range(start + a, start + b), [o for chain in chains[a:b] for o in chain])
        for a, b in pairwise(bounds)
    ]


def _product_state(rows: list[Tensor]) -> Tensor:
    """Return the Kronecker product of rows ``(..., B or 1, 1, D)``: ``(..., B or 1, 2^n)``."""
    while len(rows) > 1:
        # in halves, large ones as matrix products: their gradients need no more large arrays
        pairs = [(a.mT, b) for a, b in zip(rows[::2], rows[1::2], strict=False)]
        outer = [a * b if a.numel() * b.shape[-1] <= 2**14 else a @ b for a, b in pairs]
        rows = [o.flatten(-2).unsqueeze(-2) for o in outer] + rows[len(rows) // 2 * 2 :]
    return rows[0].squeeze(-2)


class Entangler:
    """CZ, CNOT and SWAP in order: psi[i] becomes signs[i]·psi[order[i]]."""

    def __init__(self, qubits: int, gates: Iterable[Operation]) -> None:
        basis = np.arange(2**qubits)
        order, signs = basis, np.ones(2**qubits)
        for gate in gates:
            a, b = (qubits - 1 - j for j in gate.wires)
            first, second = basis >> a & 1, basis >> b & 1
            if gate.name == "CZ":
                signs = signs * (1 - 2 * (first & second))
                continue
            different = (first ^ second) * (1 << a | 1 << b)
            source = basis ^ (first << b if gate.name == "CNOT" else different)
            order, signs = order[source], signs[source]
        self.order = Constant(order) if (order != basis).any() else None
        self.signs = Constant(signs) if (signs < 0).any() else None

    def __call__(self, psi: Tensor, axis: int) -> Tensor:
        """Apply to the axis -1 or -2 of psi."""
        if self.order is not None:
            psi = psi.index_select(axis, self.order(psi))
        if self.signs is not None:
            signs = self.signs(psi)
            psi = psi * (signs if axis == -1 else signs.unsqueeze(-1))
        return psi


def _evolve(plan: _Plan, psi: Tensor, maps: dict[int, list[Tensor]]) -> Tensor:
    """Apply everything after the first layer's maps to psi ``(..., A, 2^n)``."""
    turned = False  # (..., 2^n, A) instead of (..., A, 2^n)
    for entangler, kind in zip(plan.entanglers, plan.layers, strict=False):
        blocks = maps[kind]
        if kind in plan.of_x:
            psi = entangler(psi.mT if turned else psi, axis=-1).unsqueeze(-2)
            psi, turned = _turn(psi, blocks, back=False).squeeze(-1), False
            continue
        psi = entangler(psi, axis=-2 if turned else -1)
        psi = _turn(psi, blocks, back=turned)
        turned = not turned
    psi = plan.entanglers[-1](psi, axis=-2 if turned else -1)
    return psi.mT if turned else psi


def _turn(psi: Tensor, blocks: Sequence[Tensor], back: bool) -> Tensor:
    """Multiply the axis of each group by its block: ``(..., A, 2^n)`` → ``(..., 2^n, A)``.

    Or the other way round, ``back``. Each product takes the axis from one end of the memory and
    leaves it at the other. So the axis of the next group comes to lie at that end, and every
    product is a single large one.
    """
    rows, columns = psi.shape[-2:]
    for one in blocks if back else reversed(blocks):
        size = one.shape[-1]
        if back:
            psi = psi.reshape(*psi.shape[:-2], size, -1).mT @ one.mT
        else:
            psi = one @ psi.reshape(*psi.shape[:-2], -1, size).mT
    return psi.reshape(*psi.shape[:-2], columns, rows)


def kron(left: Tensor, right: Tensor) -> Tensor:
    """Return the Kronecker product of two stacks of square matrices."""
    p, q = left.shape[-1], right.shape[-1]
    left = left.reshape(*left.shape[:-2], p, 1, p, 1)
    outer = left * right.reshape(*right.shape[:-2], 1, q, 1, q)
    return outer.reshape(*outer.shape[:-4], p * q, p * q)
