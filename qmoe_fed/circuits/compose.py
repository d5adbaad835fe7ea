"""Circuits made of circuits: run backwards, amplified, or one of several by a register's state."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import takewhile

import numpy as np

from qmoe_fed.circuits.circuit import Circuit
from qmoe_fed.circuits.operations import (
    GATES,
    Angle,
    Channel,
    Gate,
    Operation,
    Terms,
    fixed_matrix,
    gate,
    unitary,
)
from qmoe_fed.circuits.schedule import AXES, angles, primitives
from qmoe_fed.errors import UserError


def inverse(operation: Operation) -> Gate:
    """Return the gate that undoes another one.

    Raises:
        UserError: It is a channel or an amplitude embedding, which nothing undoes.
    """
    if isinstance(operation, Gate):
        if operation.name == "unitary":
            return unitary(fixed_matrix(operation).conj().T, *operation.wires)
        if operation.name in GATES:  # those without angles undo themselves
            return replace(operation, angles=tuple(-a for a in reversed(operation.angles)))
    raise UserError(
        f"{operation.name} on wires {operation.wires} cannot be undone: expected a unitary gate"
    )


def amplify(circuit: Circuit, rounds: int, marked: Iterable[int] = (0,)) -> Circuit:
    """Return a circuit A followed by rounds of amplitude amplification.

    A round is the reflection about what A prepares, after a change of sign of the marked outcomes
    (Brassard, Høyer, Mosca & Tapp, "Quantum amplitude amplification and estimation", 2002). Where
    A finds a marked outcome with probability p = sin²φ, k rounds find one with probability
    sin²((2k + 1)φ); shares among the marked, and among the others, remain. A is used 2k + 1 times.

    Args:
        circuit: A, of unitary gates, reading probabilities.
        rounds: Their number k.
        marked: The outcomes, numbers below ``circuit.outputs``.

    Raises:
        UserError: A cannot be run backwards, reads expectations, or has no such outcome.
    """
    outcomes = sorted(set(marked))
    if rounds < 0 or circuit.readout != "probs" or not circuit.measured:
        raise UserError(
            f"{rounds} rounds of amplification of a circuit that reads {circuit.readout} of "
            f"{circuit.measured} qubits: expected 0 or more, and probabilities of at least 1"
        )
    if not outcomes or outcomes[0] < 0 or outcomes[-1] >= circuit.outputs:
        raise UserError(f"marked outcomes {outcomes}: expected some of 0 to {circuit.outputs - 1}")
    backwards = [inverse(o) for o in reversed(circuit.operations)]
    signs = np.where(np.isin(np.arange(circuit.outputs), outcomes), -1.0, 1.0)
    flip = unitary(np.diag(signs), *range(circuit.measured))
    start = np.where(np.arange(2**circuit.qubits) == 0, 1.0, -1.0)
    reflect = unitary(np.diag(start), *range(circuit.qubits))
    one = (flip, *backwards, reflect, *circuit.operations)
    return replace(circuit, operations=circuit.operations + rounds * one)


def superpose(choice: Circuit, circuits: Sequence[Circuit]) -> Circuit:
    """Return a circuit that runs all of several in superposition, each as a register chooses.

    The register is in the state that ``choice`` prepares; basis state i applies circuit i to the
    data qubits. So these are read as the mixture of the circuits with the register's
    probabilities, which may depend on x: a quantum ensemble (Schuld & Petruccione, "Quantum
    ensembles of quantum classifiers", 2018). Gates that all circuits begin with are applied
    once, whatever the register says.

    Args:
        choice: On m qubits, which become the last ones; its parameters come first in θ.
        circuits: Up to 2^m, alike in qubits, which become the first ones, and in readout; their
            parameters follow in order. Basis states that are left over leave the data as they are.

    Raises:
        UserError: There are too many circuits or none, they differ in qubits or readout, have
            channels, or embed different amplitudes.
    """
    kinds = {(c.qubits, c.readout, c.measured) for c in circuits}
    if len(kinds) != 1 or len(circuits) > 2**choice.qubits:
        raise UserError(
            f"{len(circuits)} circuits of {len(kinds)} kinds for a register of {choice.qubits} "
            f"qubits: expected 1 to {2**choice.qubits}, alike in qubits and readout"
        )
    qubits = circuits[0].qubits
    register = tuple(range(qubits, qubits + choice.qubits))
    first = [_moved(o, 0, qubits) for o in choice.operations]
    offsets = [choice.parameters]
    for circuit in circuits:
        offsets.append(offsets[-1] + circuit.parameters)
    lists = [
        [_moved(o, by, 0) for o in c.operations] for c, by in zip(circuits, offsets, strict=False)
    ]
    together = [own[0] for own in takewhile(_alike, zip(*lists, strict=False))]
    chosen: list[Gate] = []
    for state, (circuit, by) in enumerate(zip(circuits, offsets, strict=False)):
        rest = primitives(replace(circuit, operations=circuit.operations[len(together) :]))
        for operation in rest:
            chosen += _controlled(_moved(operation, by, 0), register, state)
    return replace(
        circuits[0],
        qubits=qubits + choice.qubits,
        operations=(*first, *together, *chosen),
    )


def _alike(operations: tuple[Operation, ...]) -> bool:
    return len(set(operations)) == 1


def _moved(operation: Operation, parameters: int, wires: int) -> Operation:
    """Return an operation on later wires, of later parameters."""
    on = tuple(wire + wires for wire in operation.wires)
    if isinstance(operation, Channel):
        raise UserError(f"{operation.name} on wires {operation.wires}: expected no channels")

    def later(terms: Terms) -> Terms:
        return tuple((k + parameters, factor) for k, factor in terms)

    moved = [Angle(a.constant, a.features, later(a.parameters)) for a in angles(operation)]
    return replace(operation, wires=on, angles=tuple(moved))


def _controlled(operation: Operation, register: tuple[int, ...], state: int) -> Iterable[Gate]:
    """Yield gates that apply one if a register is in a basis state.

    A rotation by a is two halves, of a/2, the second one turned around and back by a constant gate
    in all other states.
    """
    assert isinstance(operation, Gate)
    if operation.name == "amplitude-embedding":
        raise UserError("amplitude-embedding in one of several circuits: all must begin with it")
    if operation.name not in AXES:
        yield _if(fixed_matrix(operation), register, state, operation.wires)
        return
    (wire,), half = operation.wires, operation.angles[0] * 0.5
    turn = np.array([[0.0, 1], [1, 0]]) if operation.name == "RZ" else np.diag([1.0, -1])
    around = _if(turn, register, state, operation.wires)
    yield from (gate(operation.name, wire, half), around, gate(operation.name, wire, -half), around)


def _if(matrix: np.ndarray, register: tuple[int, ...], state: int, wires: tuple[int, ...]) -> Gate:
    size = len(matrix)
    whole = np.eye(size * 2 ** len(register), dtype=complex)
    whole[state * size : (state + 1) * size, state * size : (state + 1) * size] = matrix
    return unitary(whole, *register, *wires)
