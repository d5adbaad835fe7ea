"""Circuits made of circuits: run backwards, amplified, or one of several by a register's state."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import takewhile

import numpy as np
from numpy.typing import NDArray

from qmoe_fed.circuits.circuit import Circuit
from qmoe_fed.circuits.operations import GATES, Angle, Gate, Operation, fixed_matrix, gate, unitary
from qmoe_fed.circuits.schedule import AXES, primitives
from qmoe_fed.errors import UserError


def inverse(operation: Operation) -> Gate:
    """Return the gate that undoes another; UserError of a channel or an amplitude embedding."""
    if isinstance(operation, Gate):
        if operation.name == "unitary":
            return unitary(fixed_matrix(operation).conj().T, *operation.wires)
        if operation.name in GATES:  # those without angles undo themselves
            return replace(operation, angles=tuple(-a for a in reversed(operation.angles)))
    raise UserError(f"{operation.name} on wires {operation.wires}: expected a gate with an inverse")


def amplify(circuit: Circuit, rounds: int, marked: Iterable[int] = (0,)) -> Circuit:
    """Return a circuit A, then k rounds of amplitude amplification, which use A 2k times more.

    A round changes the sign of the marked outcomes, then reflects about what A prepares (Brassard,
    Høyer, Mosca & Tapp, "Quantum amplitude amplification and estimation", 2002). A probability
    sin²φ of the marked becomes sin²((2k + 1)φ); their shares of it remain, as do the others'.

    Args:
        circuit: A, of gates that have inverses; it reads probabilities.
        rounds: k, from 0.
        marked: Some of the outcomes, numbers below ``circuit.outputs``.

    Raises:
        UserError: A cannot be run backwards, or has no such outcomes.
    """
    outcomes, outputs = sorted(set(marked)), circuit.outputs * (circuit.readout == "probs")
    if rounds < 0 or not outcomes or outcomes[0] < 0 or outcomes[-1] >= outputs:
        raise UserError(
            f"{rounds} rounds of amplification of outcomes {outcomes}: expected 0 rounds or more, "
            f"and some of the {outputs} outcomes of a circuit that reads probabilities"
        )

    def turned(states: list[bool], wires: int) -> Gate:
        return unitary(np.diag([-1.0 if state else 1.0 for state in states]), *range(wires))

    flip = turned([i in outcomes for i in range(outputs)], circuit.measured)
    about_zero = turned([i > 0 for i in range(2**circuit.qubits)], circuit.qubits)
    backwards = [inverse(o) for o in reversed(circuit.operations)]
    again = (flip, *backwards, about_zero, *circuit.operations)
    return replace(circuit, operations=circuit.operations + rounds * again)


def superpose(choice: Circuit, circuits: Sequence[Circuit]) -> Circuit:
    """Return a circuit that runs several in superposition, as the state of a register chooses.

    ``choice`` prepares the register, whose basis state i applies circuit i to the data qubits. What
    is read of these is the mixture of the circuits with the register's probabilities, which may
    depend on x and be trained: a quantum ensemble (Schuld & Petruccione, "Quantum ensembles of
    quantum classifiers", 2018). Gates that all begin with are applied once.

    Args:
        choice: On m qubits, which become the last ones; its parameters come first in θ.
        circuits: Up to 2^m, alike in qubits, the first ones, and in readout; their parameters
            follow. Basis states that are left over do no more than what all begin with.

    Raises:
        UserError: They are too many or not alike, have channels, or embed different amplitudes.
    """
    kinds = {(c.qubits, c.readout, c.measured) for c in circuits}
    if len(kinds) != 1 or len(circuits) > 2**choice.qubits:
        raise UserError(
            f"{len(circuits)} circuits of {len(kinds)} kinds for a register of {choice.qubits} "
            f"qubits: expected 1 to {2**choice.qubits}, alike in qubits and readout"
        )
    first, qubits = circuits[0], circuits[0].qubits
    offsets = np.cumsum([c.parameters for c in (choice, *circuits)]).tolist()
    lists = [
        [_moved(o, by) for o in c.operations] for c, by in zip(circuits, offsets, strict=False)
    ]
    alike = takewhile(lambda own: len(set(own)) == 1, zip(*lists, strict=False))
    operations: list[Operation] = [_moved(o, 0, qubits) for o in choice.operations]
    operations += (together := [own[0] for own in alike])
    register = tuple(range(qubits, qubits + choice.qubits))
    for state, (circuit, by) in enumerate(zip(circuits, offsets, strict=False)):
        rest = replace(circuit, operations=circuit.operations[len(together) :])
        for o in primitives(rest):
            operations += _controlled(_moved(o, by), register, state)
    return replace(first, qubits=qubits + choice.qubits, operations=tuple(operations))


def _moved(operation: Operation, parameters: int, wires: int = 0) -> Gate:
    """Return a gate on later wires, of later parameters."""
    if not isinstance(operation, Gate):
        raise UserError(f"{operation.name} on wires {operation.wires}: expected no channels")
    angles = [
        Angle(a.constant, a.features, tuple((k + parameters, c) for k, c in a.parameters))
        for a in operation.angles
    ]
    on = tuple(wire + wires for wire in operation.wires)
    return replace(operation, wires=on, angles=tuple(angles))


def _controlled(operation: Gate, register: tuple[int, ...], state: int) -> list[Gate]:
    """Return gates that do the same if a register is in a basis state.

    A rotation by a is two of a/2, the second one turned around and back by a constant gate unless
    the register is in another state.
    """

    def chosen(matrix: NDArray[np.complex128]) -> Gate:
        whole = np.eye(len(matrix) * 2 ** len(register), dtype=complex)
        own = slice(state * len(matrix), (state + 1) * len(matrix))
        whole[own, own] = matrix
        return unitary(whole, *register, *operation.wires)

    if operation.name == "amplitude-embedding":
        raise UserError("amplitude-embedding in one of several circuits: all must begin with it")
    if operation.name not in AXES:
        return [chosen(fixed_matrix(operation))]
    turn = np.array([[0, 1], [1, 0]] if operation.name == "RZ" else [[1, 0], [0, -1]], complex)
    around = chosen(turn)
    (wire,), half = operation.wires, operation.angles[0] / 2
    return [gate(operation.name, wire, half), around, gate(operation.name, wire, -half), around]
