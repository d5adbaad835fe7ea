"""The same circuit as a PennyLane QNode, on any PennyLane device: the oracle, and the way to
other simulators and hardware."""

from collections.abc import Callable
from functools import cache
from itertools import product
from typing import Any

import pennylane as qml
import torch
from torch import Tensor

from qmoe_fed.circuits.circuit import Circuit
from qmoe_fed.errors import unknown


def run(circuit: Circuit, x: Tensor, theta: Tensor, device: str = "default.qubit") -> Tensor:
    """Return what the circuit reads out; arguments, shapes and errors as ``statevector.run``.

    The result has the dtype of ``x``. Gradients with respect to ``x`` and ``theta`` come from
    backpropagation where the device offers it, from the adjoint method on ``lightning.qubit``,
    and elsewhere from what PennyLane holds best, in general the parameter-shift rule.

    Args:
        device: Name of a PennyLane device, e.g. ``lightning.qubit``.

    Raises:
        UserError: PennyLane has no such device, or there are more features than qubits, or none.
    """
    n, shape, x = circuit.qubits, circuit.parameter_shape, circuit.embedded_angles(x)
    theta = theta.unsqueeze(-len(shape) - 1)
    lead = torch.broadcast_shapes(x.shape[:-1], theta.shape[: -len(shape)])
    # One batch, every row with a θ of its own, so that a device that broadcasts is called once.
    rows = x.expand(*lead, n).reshape(-1, n), theta.expand(*lead, *shape).reshape(-1, *shape)
    values = _readout(circuit, device)(*rows)
    return values.reshape(*lead, circuit.outputs).to(x.dtype)


def check_device(name: str) -> None:
    """Check that PennyLane has a device of this name.

    Raises:
        UserError: It has not.
    """
    if name not in qml.plugin_devices:
        hint = "Others come with a plugin: pip install pennylane-<plugin>."
        raise unknown("PennyLane device", name, qml.plugin_devices, hint)


@cache
def _readout(circuit: Circuit, device: str) -> Callable[[Tensor, Tensor], Tensor]:
    """Return f(x, θ) → ``(B, outputs)`` for x ``(B, n)`` and θ ``(B, *parameter_shape)``."""
    check_device(device)
    adjoint = device == "lightning.qubit"
    node = qml.QNode(
        lambda x, theta: _circuit(circuit, x, theta, adjoint),
        qml.device(device, wires=circuit.qubits),
        interface="torch",
        diff_method="adjoint" if adjoint else "best",
    )
    if device not in ("default.qubit", "default.mixed", "lightning.qubit"):
        # The parameter-shift rule cannot differentiate with respect to a batch of parameters.
        node = qml.transforms.broadcast_expand(node)

    def readout(x: Tensor, theta: Tensor) -> Tensor:
        values = node(x, theta)
        if isinstance(values, tuple | list):
            values = torch.stack(list(values), -1)
        if circuit.readout == "expval":
            return (2 * values - 1 if adjoint else values)[:, : circuit.measured]
        return values.unflatten(-1, (2**circuit.measured, -1)).sum(-1)

    return readout


def _circuit(circuit: Circuit, x: Tensor, theta: Tensor, adjoint: bool) -> Any:
    """Queue the gates and return the measurements."""
    embedding = qml.RY if circuit.embedding == "ry" else qml.RX
    for layer in range(circuit.layers):
        if layer == 0 or circuit.reuploading:
            for j in range(circuit.qubits):
                embedding(x[:, j], wires=j)
        for j in range(circuit.qubits):
            if circuit.entangler == "strongly-entangling":
                qml.Rot(*theta[:, layer, j].unbind(-1), wires=j)
            else:
                qml.RY(theta[:, layer, j], wires=j)
        if circuit.entangler == "cz":
            for j in range(circuit.qubits - 1):
                qml.CZ(wires=[j, j + 1])
        elif circuit.entangler == "strongly-entangling":
            for pair in circuit.cnots(layer):
                qml.CNOT(wires=pair)

    # PennyLane cannot measure no wire at all: it measures one, which is summed or cut away.
    wires = range(max(circuit.measured, 1))
    if circuit.readout == "expval":
        # The adjoint method returns ⟨Z⟩ in single precision, but projectors in double.
        return [qml.expval(qml.Projector([0], j) if adjoint else qml.Z(j)) for j in wires]
    if adjoint:
        # The adjoint method has no derivative of probabilities, but of expectations.
        bits = product((0, 1), repeat=len(wires))
        return [qml.expval(qml.Projector(state, wires)) for state in bits]
    return qml.probs(wires=wires)
