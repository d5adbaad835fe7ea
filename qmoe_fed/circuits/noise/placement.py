"""Where noise acts: channels put into a list of operations."""

from dataclasses import replace
from itertools import groupby

from qmoe_fed.circuits.circuit import Circuit
from qmoe_fed.circuits.operations import Gate, Operation, Slot, channel
from qmoe_fed.circuits.schedule import of_x
from qmoe_fed.errors import unknown

PLACEMENTS = ("gate", "notebook", "readout")


def with_noise(circuit: Circuit, name: str, strength: float | Slot, placement: str) -> Circuit:
    """Return the circuit with channels among its operations.

    Args:
        circuit: The circuit; channels already in it remain.
        name: Of the channel, see ``operations.channel``.
        strength: The channel's parameter, in [0, 1]; or a slot, to give it when the circuit is
            run. ``Slot(circuit.strengths)`` is the next one that is free.
        placement: ``gate``: after every gate, embedding included, on each wire it acts on (a Rot
            is one gate, a CZ or CNOT has two wires). ``notebook``: on every wire once after each
            embedding and once at the end, as in the notebooks of the authors of the method.
            ``readout``: on the measured wires at the end; bit flips there are readout errors.

    Raises:
        UserError: There is no such channel or placement, or the strength is not in [0, 1].
    """
    if placement not in PLACEMENTS:
        raise unknown("noise placement", placement, PLACEMENTS)

    def noise(wires: range | tuple[int, ...]) -> list[Operation]:
        return [channel(name, wire, strength) for wire in wires]

    every, measured = range(circuit.qubits), range(circuit.measured)
    operations: list[Operation] = []
    if placement == "gate":
        for operation in circuit.operations:
            operations += [
                operation,
                *noise(operation.wires if isinstance(operation, Gate) else ()),
            ]
    elif placement == "notebook":
        for embeds, run in groupby(circuit.operations, of_x):
            operations += [*run, *noise(every if embeds else ())]
        operations += noise(every)
    else:
        operations += [*circuit.operations, *noise(measured)]
    noise((0,))  # checked even where it is put nowhere
    return replace(circuit, operations=tuple(operations))


def depolarizing_from_qiskit(strength: float) -> float:
    """Return PennyLane's depolarizing probability p = 3λ/4 for Qiskit's single-qubit λ."""
    return 3 * strength / 4


def depolarizing_to_qiskit(p: float) -> float:
    """Return Qiskit's single-qubit λ = 4p/3 for PennyLane's depolarizing probability."""
    return 4 * p / 3
