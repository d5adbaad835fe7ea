"""The operations of a circuit in forms that engines share: few kinds of gates, in blocks."""

from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass, replace
from functools import cache, cached_property

from qmoe_fed.circuits.circuit import Circuit
from qmoe_fed.circuits.operations import (
    Angle,
    Channel,
    Gate,
    Operation,
    Slot,
    fixed_matrix,
    gate,
)

AXES = {"RX": "x", "RY": "y", "RZ": "z"}
CONTROLLED = {"CRX": ("RX", "CZ"), "CRY": ("RY", "CZ"), "CRZ": ("RZ", "CNOT")}
"""The rotation of a controlled one, and the gate that turns it around."""


@dataclass(frozen=True, eq=False)
class Part:
    """Observables, and what of a circuit they feel.

    Attributes:
        circuit: The circuit; says how many features and parameters there are.
        qubits: Those of its qubits that are simulated, ascending, at least one.
        operations: RX, RY, RZ, embeddings, constant gates and channels; their wires are positions
            in ``qubits``.
        strings: The observables, products of Z, as numbers in base 4 over these qubits: digit 3
            is Z, digit 0 nothing.
    """

    circuit: Circuit
    qubits: tuple[int, ...]
    operations: tuple[Operation, ...]
    strings: tuple[int, ...] = ()

    @cached_property
    def is_real(self) -> bool:
        """Whether all amplitudes stay real."""
        return not any(
            o.name in ("RX", "RZ") or (o.name == "unitary" and fixed_matrix(o).imag.any())
            for o in self.operations
            if isinstance(o, Gate)
        )


@cache
def pure(circuit: Circuit) -> Part:
    """Return what the measured qubits of a circuit without channels can feel.

    The rest is left out, so that the gradient of an angle without effect is 0 and not rounding
    noise, which Adam would magnify.
    """
    operations = primitives(circuit)
    kept, cone = felt(operations, set(range(circuit.measured)))
    if not any(a.parameters for i in kept for a in angles(operations[i])):
        # θ stays in the graph of a circuit of which nothing is read
        return Part(circuit, tuple(range(circuit.qubits)), operations)
    return local(circuit, [operations[i] for i in kept], cone)


@cache
def filled(part: Part) -> Part:
    """Return a part with all gates of its kinds on its qubits, so that layers are alike.

    Those that are not felt have no parameters.
    """
    operations, kinds = primitives(part.circuit), {o.name for o in part.operations} - {"unitary"}
    kept, cone = felt(operations, set(range(part.circuit.measured)))
    if len(kept) < len(part.operations):
        return part
    every = [
        replace(o, angles=(o.angles[0].of_x,))
        if isinstance(o, Gate) and o.name in AXES and i not in kept
        else o
        for i, o in enumerate(operations)
        if i in kept or (cone.issuperset(o.wires) and o.name in kinds)
    ]
    return local(part.circuit, every, cone)


def local(circuit: Circuit, operations: Iterable[Operation], cone: Set[int]) -> Part:
    """Return operations on some of a circuit's qubits."""
    place = {wire: number for number, wire in enumerate(sorted(cone))}
    on = [replace(o, wires=tuple(place[wire] for wire in o.wires)) for o in operations]
    return Part(circuit, tuple(place), tuple(on))


def angles(operation: Operation) -> tuple[Angle, ...]:
    """Return what a gate turns by; nothing of a channel."""
    return operation.angles if isinstance(operation, Gate) else ()


@cache
def primitives(circuit: Circuit) -> tuple[Operation, ...]:
    """Return operations that do the same, of which only RX, RY, RZ and embeddings have angles.

    A controlled rotation by a is two rotations of the target, by a/2 and -a/2, between gates that
    turn the sign of the second one back if the control is 1. Rotations of a wire about one axis
    that follow each other become one.
    """
    found: list[Operation] = []
    last: dict[int, int] = {}  # what acted last on a wire
    for operation in (part for whole in circuit.operations for part in _split(whole)):
        at = last.get(operation.wires[0], -1)
        match found[at] if at >= 0 else None, operation:
            case Gate(name, angles=(a,)), Gate(other, angles=(b,)) if name == other in AXES:
                found[at] = gate(name, operation.wires, a + b)
                continue
        last |= dict.fromkeys(operation.wires, len(found))
        found.append(operation)
    return tuple(found)


def felt(operations: Sequence[Operation], measured: Set[int]) -> tuple[list[int], set[int]]:
    """Return which operations Z of measured qubits can feel, and the qubits in them or measured.

    A channel preserves the trace, so what follows the last use of a qubit that is not measured
    changes nothing. Nor do CZ and RZ change operators that are diagonal, as those measured are
    and, after every channel and CNOT, remain until another rotation comes.
    """
    cone, kept = set(measured), list[int]()
    turned: set[int] = set()  # where operators may be no longer diagonal
    for number in reversed(range(len(operations))):
        operation = operations[number]
        wires = set(operation.wires)
        if cone.isdisjoint(wires) or (operation.name in ("CZ", "RZ") and turned.isdisjoint(wires)):
            continue
        if operation.name == "CNOT" and not cone & {operation.wires[1]} | turned & wires:
            continue  # Z of the control commutes with it
        kept.append(number)
        cone |= wires
        if operation.name == "CNOT":
            turned |= wires if operation.wires[0] in turned else set()
        elif operation.name not in ("CZ", "RZ") and not isinstance(operation, Channel):
            turned |= wires
    return kept[::-1], cone


def _split(whole: Operation) -> Iterable[Operation]:
    if whole.name == "Rot" and isinstance(whole, Gate):
        return [
            gate(n, whole.wires, a) for n, a in zip(("RZ", "RY", "RZ"), whole.angles, strict=True)
        ]
    if whole.name in CONTROLLED and isinstance(whole, Gate):
        rotation, between = CONTROLLED[whole.name]
        target, half = whole.wires[1], whole.angles[0] * 0.5
        turn = gate(between, whole.wires)
        return [turn, gate(rotation, target, -half), turn, gate(rotation, target, half)]
    return [whole]


def of_x(operation: Operation) -> bool:
    """Return whether it is a gate that depends on features."""
    return any(angle.features for angle in angles(operation))


@dataclass(frozen=True)
class Block:
    """Operations, whose wires are positions in ``wires``."""

    wires: tuple[int, ...]
    operations: tuple[Operation, ...]

    @property
    def angles(self) -> list[Angle]:
        """What its rotations turn by, in order."""
        return [angle for o in self.operations for angle in angles(o)]

    @property
    def of_x(self) -> bool:
        """Whether it depends on features."""
        return any(angle.features for angle in self.angles)

    @property
    def kind(self) -> object:
        """All but the angles."""
        return (
            self.of_x,
            len(self.wires),
            tuple((o.name, o.wires) if o.name in AXES else o for o in self.operations),
        )


def gather(operations: Iterable[Operation], most: int, turns: int) -> list[Block]:
    """Return operations in few blocks, on at most ``most`` wires each, that do the same in order.

    A block has at most ``turns`` rotations, all of x or none, and channels of one slot at most.
    """
    found: list[tuple[set[int], list[Operation]]] = []
    for operation in operations:
        wires = set(operation.wires)
        # It commutes with all blocks after the last one that shares a wire with it.
        last = max((i for i, (taken, _) in enumerate(found) if taken & wires), default=0)
        for taken, members in found[last:]:
            if len(taken | wires) <= most and go_together([*members, operation], turns):
                taken |= wires
                members.append(operation)
                break
        else:
            found.append((wires, [operation]))
    return [block(sorted(taken), members) for taken, members in found]


def block(wires: Iterable[int], operations: Iterable[Operation]) -> Block:
    """Return a block of operations on a circuit's wires."""
    on = tuple(wires)
    return Block(on, tuple(replace(o, wires=tuple(map(on.index, o.wires))) for o in operations))


def go_together(operations: list[Operation], turns: int) -> bool:
    """Return whether one block may have these operations, with at most ``turns`` rotations."""
    angles = [o.angles[0] for o in operations if isinstance(o, Gate) and o.name in AXES]
    slots = {(o.name, o.strength) for o in operations if isinstance(o, Channel) and slotted(o)}
    return len(angles) <= turns and len({bool(a.features) for a in angles}) < 2 and len(slots) < 2


def slotted(operation: Operation) -> bool:
    """Return whether it is a channel whose strength is given when the circuit is run."""
    return isinstance(operation, Channel) and isinstance(operation.strength, Slot)
