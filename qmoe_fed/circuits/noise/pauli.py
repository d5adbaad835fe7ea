"""Expectations under noise in the Pauli basis, gate by gate, for any number of qubits.

Either the observables travel backwards through the circuit (Heisenberg's picture), and the cost
does not depend on the number of samples, or the states travel forwards (Schrödinger's). What is
fewer travels; with re-uploading the circuit differs from sample to sample, and states must.
Everything broadcasts over leading dimensions, and ``torch.func.vmap`` works over it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from qmoe_fed.circuits.circuit import Circuit
from qmoe_fed.circuits.general import Applied, evolve, fuse, multiply_out
from qmoe_fed.circuits.noise.cones import Part
from qmoe_fed.circuits.noise.start import Start
from qmoe_fed.circuits.noise.transfer import constant, rotation
from qmoe_fed.circuits.operations import Gate, Operation
from qmoe_fed.circuits.schedule import AXES, Role, layers
from qmoe_fed.circuits.tables import Constant, Linear, outside

Steps = tuple[Operation, ...]
"""Constant operations that follow each other on one or two wires, numbered among themselves."""


def expectations(
    circuit: Circuit, part: Part, x: Tensor, theta: Tensor, strengths: Tensor
) -> Tensor:
    """Return the expectations of a part's observables.

    Args:
        circuit: The circuit.
        part: What is simulated of it, w qubits.
        x: Features, shape ``(..., B, circuit.features)``.
        theta: Parameters, shape ``(..., P)``.
        strengths: Of the slots, shape ``(..., S)``.

    Returns:
        Shape ``(..., B or 1, len(part.strings))``.
    """
    plan, width = _plan(circuit, part), len(part.qubits)
    strings = torch.tensor(part.strings, dtype=torch.int64, device=x.device)
    # Larger blocks pass over the states less often and save memory. Multiplied out for every
    # sample, they pay only beside large states.
    blocks = fuse(plan.gates(x, theta, strengths), 2 if plan.of_x and width <= 6 else 3, 4)
    if plan.of_x or len(strings) > x.shape[-2]:
        axis = -2 if plan.of_x else -3
        states = plan.start.coefficients(x, theta).unsqueeze(axis)
        return evolve(states, blocks, 4).squeeze(axis)[..., strings]
    backwards = [(wires, matrix.mT) for wires, matrix in reversed(blocks)]
    observables = evolve(one_hot(strings, 4**width).to(x), backwards, 4).squeeze(-3)
    states, numbers = plan.start.nonzero(x, theta)
    return states @ observables[..., numbers].mT


class _Plan:
    """What is known of a part before its angles and strengths."""

    def __init__(self, circuit: Circuit, part: Part) -> None:
        gates = [o for o in part.operations if isinstance(o, Gate)]
        prepared = [gate for gate in gates if gate.name == "amplitude-embedding"]
        others = [o for o in part.operations if o not in prepared]
        taken = {wire for gate in prepared for wire in gate.wires}
        found = layers(others, len(part.qubits), _role)
        chains = [list(layer.chains) for layer in found]
        heads: list[Gate | None] = []  # the first rotation of each qubit, if it embeds x
        for wire, chain in enumerate(chains[0]):
            head = chain[0] if chain and wire not in taken else None
            heads.append(head if isinstance(head, Gate) and _of_x(head) else None)
            chains[0][wire] = chain[1:] if heads[-1] else chain
        self.start = Start(circuit, heads, prepared)
        self.of_x = any(_of_x(o) for of_wires in chains for chain in of_wires for o in chain)
        self.layers = [
            (_groups(circuit, of_wires), _joined(layer.rest))
            for of_wires, layer in zip(chains, found, strict=True)
        ]
        self.constants = {steps for _, rest in self.layers for _, steps in rest}
        for groups, _ in self.layers:
            self.constants |= {i for g in groups for i in g.items if not isinstance(i, _Turns)}
        self.made: dict[Steps, Constant] | None = None if part.slots else outside(self._make)

    def _make(self) -> dict[Steps, Constant]:
        like = torch.empty((), dtype=torch.float64)
        none = like.new_empty(0)
        return {s: Constant(_multiplied(s, like, none).numpy()) for s in self.constants}

    def gates(self, x: Tensor, theta: Tensor, strengths: Tensor) -> list[Applied]:
        """Return all gates and channels after the first rotations, in order."""
        if self.made is None:
            matrices = {steps: _multiplied(steps, x, strengths) for steps in self.constants}
        else:
            matrices = {steps: made(x) for steps, made in self.made.items()}
        gates: list[Applied] = []
        for groups, rest in self.layers:
            for group in groups:
                whole = group.matrices(x, theta, matrices)
                gates += [((w,), whole[..., i, :, :]) for i, w in enumerate(group.wires)]
            gates += [(wires, matrices[steps]) for wires, steps in rest]
        return gates


@cache
def _plan(circuit: Circuit, part: Part) -> _Plan:
    return _Plan(circuit, part)


@dataclass(frozen=True, eq=False)
class _Turns:
    """Rotations of several wires about one axis."""

    axis: str
    angles: Linear


@dataclass(frozen=True, eq=False)
class _Group:
    """Chains of the same kinds of operations on several wires, one item after the other."""

    wires: list[int]
    items: list[_Turns | Steps]

    def matrices(self, x: Tensor, theta: Tensor, constants: dict[Steps, Tensor]) -> Tensor:
        """Return their transfer matrices, ``(..., B or 1, len(wires) or 1, 4, 4)``."""
        whole: Tensor | None = None
        for item in self.items:
            if isinstance(item, _Turns):
                matrix = rotation(item.axis, item.angles(x, theta))
            else:
                matrix = constants[item].unsqueeze(-3)
            whole = matrix if whole is None else matrix @ whole
        assert whole is not None
        return whole.expand(*whole.shape[:-3], len(self.wires), 4, 4)


def _groups(circuit: Circuit, chains: Sequence[Steps]) -> list[_Group]:
    """Return the chains of all wires that have one, those of the same kinds together."""
    kinds: dict[tuple[object, ...], list[int]] = {}
    for wire, chain in enumerate(chains):
        if chain:
            kinds.setdefault(tuple(map(_kind, chain)), []).append(wire)
    groups = []
    for wires in kinds.values():
        items: list[_Turns | Steps] = []
        for step in zip(*(chains[wire] for wire in wires), strict=True):
            if step[0].name in AXES:
                angles = [o.angles[0] for o in step if isinstance(o, Gate)]
                linear = Linear(angles, circuit.features, circuit.parameters)
                items.append(_Turns(AXES[step[0].name], linear))
            else:
                items.append((_at(step[0], (0,)),))
        groups.append(_Group(wires, items))
    return groups


def _kind(operation: Operation) -> object:
    return operation.name if operation.name in AXES else _at(operation, (0,))


def _role(operation: Operation) -> Role:
    if operation.name in AXES:
        return "chain"
    return "follow" if len(operation.wires) == 1 else "rest"


def _of_x(operation: Operation) -> bool:
    return isinstance(operation, Gate) and any(angle.features for angle in operation.angles)


def _at(operation: Operation, wires: tuple[int, ...]) -> Operation:
    return replace(operation, wires=wires)


def _joined(operations: Sequence[Operation]) -> list[tuple[tuple[int, ...], Steps]]:
    """Return constant operations with those on fewer wires that follow each joined to it."""
    runs: list[tuple[tuple[int, ...], list[Operation]]] = []
    for operation in operations:
        if runs and set(operation.wires) <= set(runs[-1][0]):
            runs[-1][1].append(operation)
        else:
            runs.append((operation.wires, [operation]))
    return [
        (wires, tuple(_at(o, tuple(map(wires.index, o.wires))) for o in run)) for wires, run in runs
    ]


def _multiplied(steps: Steps, like: Tensor, strengths: Tensor) -> Tensor:
    """Return the product of constant operations, ``(..., 1, 4^w, 4^w)``."""
    gates = [(step.wires, constant(step, like, strengths)) for step in steps]
    return gates[0][1] if len(gates) == 1 else multiply_out(steps[0].wires, gates, 4)[1]
