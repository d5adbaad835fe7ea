"""Circuits by name: functions that return lists of operations.

A user's own ansatz is any function ``(qubits, layers, features) -> Circuit``.
"""

from typing import Literal

from qmoe_fed.circuits.circuit import Circuit
from qmoe_fed.circuits.operations import (
    Operation,
    amplitude_embedding,
    feature,
    gate,
    parameter,
)
from qmoe_fed.errors import UserError

Embedding = Literal["ry", "rx", "amplitude"]
Entangler = Literal["cz", "none", "strongly-entangling"]


def layered(
    qubits: int,
    layers: int,
    features: int,
    embedding: Embedding = "ry",
    entangler: Entangler = "cz",
    reuploading: bool = False,
) -> Circuit:
    """Return the embedding, then ``layers`` times (one local map per qubit, an entangler).

    With ``cz`` or ``none`` the trainable local map is RY(θ) (paper, section IV-C: CZ between
    neighbours j, j+1). With ``strongly-entangling`` it is Rot(φ, θ, ω) and the entangler is a ring
    of CNOTs of growing range, as PennyLane's ``StronglyEntanglingLayers``.

    Args:
        qubits: Number of qubits n.
        layers: Number of variational layers L. Parameters are numbered layer by layer, qubit by
            qubit: one for RY, three for Rot. So fewer layers use the first parameters only.
        features: Number of features. Feature j turns qubit j; with fewer features than qubits
            they repeat cyclically.
        embedding: Axis of the embedding rotation; or ``amplitude``: the features, up to 2^n of
            them, are the amplitudes of the state, once divided by their norm.
        entangler: What follows each layer of local maps.
        reuploading: Whether the embedding comes before every layer, not only before the first.

    Raises:
        UserError: There are more features than fit, or none; or amplitudes are to be re-uploaded.
    """
    strongly = entangler == "strongly-entangling"
    operations: list[Operation] = []
    if embedding == "amplitude":
        if reuploading:
            raise UserError("embedding = 'amplitude': a state is prepared once; no reuploading")
        every = tuple(range(qubits))
        operations.append(amplitude_embedding(*map(feature, range(features)), wires=every))
    else:
        check_features(features, qubits)
    for layer in range(layers):
        if embedding != "amplitude" and (layer == 0 or reuploading):
            operations += [gate(embedding.upper(), j, feature(j % features)) for j in range(qubits)]
        for j in range(qubits):
            at = layer * qubits + j
            if strongly:
                operations.append(gate("Rot", j, *(parameter(3 * at + k) for k in range(3))))
            else:
                operations.append(gate("RY", j, parameter(at)))
        if strongly:
            operations += [gate("CNOT", pair) for pair in ring(qubits, layer)]
        elif entangler == "cz":
            operations += [gate("CZ", (j, j + 1)) for j in range(qubits - 1)]
    return Circuit(qubits, tuple(operations))


def check_features(features: int, qubits: int) -> None:
    """Check that each feature finds a qubit.

    Raises:
        UserError: There are more features than qubits, or none.
    """
    if not 1 <= features <= qubits:
        raise UserError(
            f"{features} features do not fit {qubits} qubits: 1 to {qubits} can be embedded"
        )


def ring(qubits: int, layer: int) -> list[tuple[int, int]]:
    """Return the (control, target) pairs after a strongly entangling layer, in order."""
    if qubits == 1:
        return []
    reach = layer % (qubits - 1) + 1
    return [(j, (j + reach) % qubits) for j in range(qubits)]
