"""The operations of a circuit in a form that engines share: few kinds of gates, in layers."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from typing import Literal

from qmoe_fed.circuits.circuit import Circuit
from qmoe_fed.circuits.operations import Channel, Gate, Operation, fixed_matrix, gate

AXES = {"RX": "x", "RY": "y", "RZ": "z"}
CONTROLLED = {"CRX": ("RX", "CZ"), "CRY": ("RY", "CZ"), "CRZ": ("RZ", "CNOT")}
"""The rotation of a controlled one, and the gate that turns it around."""


@cache
def primitives(circuit: Circuit) -> tuple[Operation, ...]:
    """Return operations that do the same, of which only RX, RY, RZ and embeddings have angles.

    A controlled rotation by a is two rotations of the target, by a/2 and -a/2, between gates that
    turn the sign of the second one back if the control is 1.
    """
    return tuple(part for whole in circuit.operations for part in _split(whole))


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


Role = Literal["chain", "follow", "rest"]


@dataclass(frozen=True)
class Layer:
    """Operations on single wires, which form a chain on each, then the rest, in order."""

    chains: tuple[tuple[Operation, ...], ...]
    rest: tuple[Operation, ...]


def layers(
    operations: Iterable[Operation],
    qubits: int,
    role: Callable[[Operation], Role],
    longest: int | None = None,
) -> list[Layer]:
    """Return the same operations as few layers, each on all wires.

    Operations on other wires may change places; rotations of a wire about one axis that follow
    each other become one.

    Args:
        operations: In order.
        qubits: Number of wires.
        role: ``chain`` for operations on one wire that belong in chains, ``follow`` for those that
            are put into a chain only if they follow it at once, ``rest`` for others.
        longest: Most operations in a chain.

    Returns:
        At least one layer.
    """
    chains: list[list[list[Operation]]] = []
    rest: list[list[Operation]] = []
    chained, rested = [-1] * qubits, [-1] * qubits  # last layer in which a wire was busy so

    def grow(level: int) -> None:
        while len(chains) <= level:
            chains.append([[] for _ in range(qubits)])
            rest.append([])

    grow(0)
    for operation in operations:
        j, kind = operation.wires[0], role(operation)
        if kind == "chain" or (kind == "follow" and rested[j] < max(chained[j], 0)):
            level = max(chained[j], rested[j] + 1, 0)
            grow(level)
            merged = _merge(chains[level][j][-1:], operation)
            if longest and len(chains[level][j][:-1]) + len(merged) > longest:
                level, merged = level + 1, [operation]
                grow(level)
            chains[level][j][-1:] = merged
            chained[j] = level
        else:
            level = max(0, *(max(chained[w], rested[w]) for w in operation.wires))
            rest[level].append(operation)
            for w in operation.wires:
                rested[w] = level
    return [
        Layer(tuple(map(tuple, of_wires)), tuple(others))
        for of_wires, others in zip(chains, rest, strict=True)
    ]


def _merge(last: list[Operation], following: Operation) -> list[Operation]:
    """Return one operation or two that do the same as one (or none) and the following one."""
    match last, following:
        case [Gate(name=first, angles=(a,))], Gate(name=second, angles=(b,)) if (
            first == second and first in AXES
        ):
            return [gate(first, following.wires, a + b)]
    return [*last, following]


def in_chains(operation: Operation) -> Role:
    """Return the role for engines that multiply all one-wire gates of a layer out."""
    return "chain" if len(operation.wires) == 1 else "rest"


def diagonal(operation: Operation) -> bool:
    """Return whether a gate only multiplies basis states by phases."""
    return operation.name in ("RZ", "CZ")


def only(circuit: Circuit, *names: str) -> bool:
    """Return whether a circuit's primitives are all among these."""
    return all(operation.name in names for operation in primitives(circuit))


def has_channel(operations: Iterable[Operation]) -> bool:
    """Return whether there is a channel among operations."""
    return any(isinstance(operation, Channel) for operation in operations)
