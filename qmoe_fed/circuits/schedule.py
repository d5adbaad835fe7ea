"""The operations of a circuit in a form that engines share: few kinds of gates, in layers."""

from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass
from functools import cache

from qmoe_fed.circuits.circuit import Circuit
from qmoe_fed.circuits.operations import Channel, Gate, Operation, fixed_matrix, gate

AXES = {"RX": "x", "RY": "y", "RZ": "z"}
CONTROLLED = {"CRX": ("RX", "CZ"), "CRY": ("RY", "CZ"), "CRZ": ("RZ", "CNOT")}
"""The rotation of a controlled one, and the gate that turns it around."""


@cache
def primitives(circuit: Circuit) -> tuple[Operation, ...]:
    """Return operations that do the same, of which only RX, RY, RZ and embeddings have angles.

    A controlled rotation by a is two rotations of the target, by a/2 and -a/2, between gates that
    turn the sign of the second one back if the control is 1. Rotations of a wire about one axis
    that follow each other become one. What the measured qubits cannot feel is left out, so that the
    gradient of an angle without effect is 0 and not rounding noise, which Adam would magnify.
    """
    found: list[Operation] = []
    last: dict[int, int] = {}  # what acted last on a wire
    for operation in (part for whole in circuit.operations for part in _split(whole)):
        at = last.get(operation.wires[0])
        match None if at is None else found[at], operation:
            case Gate(name=name, angles=(a,)), Gate(name=other, angles=(b,)) if (
                at is not None and name == other and name in AXES
            ):
                found[at] = gate(name, operation.wires, a + b)
                continue
        last |= dict.fromkeys(operation.wires, len(found))
        found.append(operation)
    kept, _ = felt(found, set(range(circuit.measured)))
    # θ stays in the graph of a circuit of which nothing is read
    trained = any(a.parameters for o in kept if isinstance(o, Gate) for a in o.angles)
    return tuple(kept if trained else found)


def felt(operations: Sequence[Operation], measured: Set[int]) -> tuple[list[Operation], set[int]]:
    """Return the operations that Z of measured qubits can feel, and the qubits in them or measured.

    A channel preserves the trace, so what follows the last use of a qubit that is not measured
    changes nothing. Nor do CZ and RZ change operators that are diagonal, as those measured are
    and, after every channel and CNOT, remain until another rotation comes.
    """
    cone, kept = set(measured), []
    turned: set[int] = set()  # where operators may be no longer diagonal
    for operation in reversed(operations):
        wires = set(operation.wires)
        if cone.isdisjoint(wires) or (operation.name in ("CZ", "RZ") and turned.isdisjoint(wires)):
            continue
        if operation.name == "CNOT" and not cone & {operation.wires[1]} | turned & wires:
            continue  # Z of the control commutes with it
        kept.append(operation)
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


@cache
def is_real(circuit: Circuit) -> bool:
    """Return whether all amplitudes stay real."""
    return not circuit.noisy and not any(
        o.name in ("RX", "RZ") or (o.name == "unitary" and fixed_matrix(o).imag.any())
        for o in primitives(circuit)
        if isinstance(o, Gate)
    )


def of_x(operation: Operation) -> bool:
    """Return whether it is a gate that depends on features."""
    return isinstance(operation, Gate) and any(angle.features for angle in operation.angles)


@dataclass(frozen=True)
class Layer:
    """Gates on single wires, which form a chain on each, then CZ, CNOT and SWAP, in order."""

    chains: tuple[tuple[Operation, ...], ...]
    entanglers: tuple[Operation, ...]


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
    return [Layer(tuple(map(tuple, chains)), tuple(others)) for chains, others in found]
