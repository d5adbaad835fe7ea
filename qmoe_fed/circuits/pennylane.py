"""The same circuit as a PennyLane QNode, on any PennyLane device: the oracle, and the way to
other simulators and hardware."""

from collections.abc import Callable
from functools import cache
from itertools import product
from typing import Any

import pennylane as qml
import torch
from torch import Tensor

from qmoe_fed.circuits import operations
from qmoe_fed.circuits.circuit import Circuit
from qmoe_fed.circuits.operations import Channel, Gate, Slot, fixed_matrix
from qmoe_fed.circuits.statevector import check_inputs
from qmoe_fed.circuits.tables import Linear
from qmoe_fed.config.settings import parse_options
from qmoe_fed.errors import UserError, unknown

GATES = {name: getattr(qml, name) for name in operations.GATES}
PRECISE = GATES | {
    "RZ": lambda angle, wires: qml.Rot(angle, 0.0, 0.0, wires=wires),
    "CRZ": lambda angle, wires: qml.CRot(angle, 0.0, 0.0, wires=wires),
}
"""The same for ``default.mixed``, whose own RZ and CRZ are in single precision."""

CHANNELS = {
    "depolarizing": qml.DepolarizingChannel,
    "amplitude-damping": qml.AmplitudeDamping,
    "phase-damping": qml.PhaseDamping,
    "bit-flip": qml.BitFlip,
}


def run(
    circuit: Circuit,
    x: Tensor,
    theta: Tensor,
    strengths: Tensor | None = None,
    device: str = "default.qubit",
    options: str = "",
    shots: int = 0,
) -> Tensor:
    """Return what the circuit reads out; arguments, shapes and errors as ``statevector.run``.

    The result has the dtype of ``x``. Gradients with respect to ``x`` and ``theta`` come from
    backpropagation where the device offers it, from the adjoint method on ``lightning.qubit``,
    and elsewhere from what PennyLane holds best, in general the parameter-shift rule. What is
    measured with finite shots has no gradient.

    Args:
        device: Name of a PennyLane device, e.g. ``lightning.qubit``.
        options: Its keyword arguments, e.g. ``"seed = 3"``.
        shots: How often it measures each sample; 0: it returns exact values.

    Raises:
        UserError: PennyLane has no such device, it cannot run channels, or inputs do not fit.
    """
    x, theta, strengths = check_inputs(circuit, x, theta, strengths)
    if circuit.noisy and device != "default.mixed":
        raise UserError(
            f"device {device!r} runs no noise: take circuit-engine 'statevector' or "
            "'pennylane:default.mixed'"
        )
    lead = torch.broadcast_shapes(x.shape[:-2], theta.shape[:-1], strengths.shape[:-1])
    if strengths.dim() > 1:  # PennyLane takes one strength at a time
        xs, thetas = x.expand(*lead, -1, -1), theta.expand(*lead, -1)
        each = zip(xs, thetas, strengths.expand(*lead, -1), strict=True)
        return torch.stack([run(circuit, *inputs, device, options, shots) for inputs in each])
    # One batch, every row with a θ of its own, so that a device that broadcasts is called once.
    lead = (*lead, x.shape[-2])
    rows = x.expand(*lead, -1), theta.unsqueeze(-2).expand(*lead, -1)
    xs, thetas = (each.flatten(0, -2) for each in rows)
    values = _readout(circuit, device, options, shots)(xs, thetas, strengths.tolist())
    return values.reshape(*lead, circuit.outputs).to(x.dtype)


def check_device(name: str, options: str = "") -> None:
    """Check that PennyLane has a device of this name, and that it takes these options.

    Raises:
        UserError: It has not, or it does not.
    """
    if name not in qml.plugin_devices:
        qml.refresh_devices()  # installed since PennyLane was imported
    if name not in qml.plugin_devices:
        hint = "Others come with a plugin: pip install pennylane-<plugin>."
        raise unknown("PennyLane device", name, qml.plugin_devices, hint)
    if options:
        _device(name, 1, options)


def _device(name: str, wires: int, options: str) -> Any:
    keywords = parse_options("device-options", options)
    try:
        return qml.device(name, wires=wires, **keywords)
    except Exception as error:  # of a plugin: anything
        told = f"device-options = {options!r}: PennyLane device {name!r} cannot be made with them"
        raise UserError(f"{told}: {error}") from error


@cache
def _readout(
    circuit: Circuit, device: str, options: str, shots: int
) -> Callable[[Tensor, Tensor, list[float]], Tensor]:
    """Return f(x, θ, strengths) → ``(B, outputs)`` for x ``(B, d)`` and θ ``(B, P)``."""
    check_device(device)
    adjoint = device == "lightning.qubit" and not shots
    node = qml.QNode(
        lambda *inputs: _circuit(circuit, device, adjoint, *inputs),
        _device(device, circuit.qubits, options),
        interface="torch",
        diff_method=None if shots else "adjoint" if adjoint else "best",
    )
    if shots:
        node = qml.set_shots(node, shots)
    if device not in ("default.qubit", "default.mixed", "lightning.qubit"):
        # The parameter-shift rule cannot differentiate with respect to a batch of parameters.
        node = qml.transforms.broadcast_expand(node)

    def readout(x: Tensor, theta: Tensor, strengths: list[float]) -> Tensor:
        values = node(x, theta, strengths)
        if isinstance(values, tuple | list):
            values = torch.stack(list(values), -1)
        if values.dim() == 1:
            values = values.expand(len(x), -1)
        if circuit.readout == "expval":
            return (2 * values - 1 if adjoint else values)[:, : circuit.measured]
        return values.unflatten(-1, (2**circuit.measured, -1)).sum(-1)

    return readout


def _circuit(
    circuit: Circuit, device: str, adjoint: bool, x: Tensor, theta: Tensor, strengths: list[float]
) -> Any:
    """Queue the operations and return the measurements."""
    gates = PRECISE if device == "default.mixed" else GATES
    for operation in circuit.operations:
        wires = list(operation.wires)
        if isinstance(operation, Channel):
            strength = operation.strength
            if isinstance(strength, Slot):
                strength = strengths[strength.number]
            CHANNELS[operation.name](strength, wires=wires)
        elif operation.name == "unitary":
            qml.QubitUnitary(fixed_matrix(operation), wires=wires)
        else:
            values = _linear(circuit, operation)(x.unsqueeze(-2), theta)
            values = torch.atleast_2d(values).flatten(0, -2)
            if operation.name == "amplitude-embedding":
                qml.AmplitudeEmbedding(values, wires=wires, normalize=True)
            else:
                # one number where all samples share an angle
                angles = values[0] if len(values) == 1 else values.mT.unbind()
                gates[operation.name](*angles, wires=wires)
    # PennyLane cannot measure no wire at all: it measures one, which is summed or cut away.
    read = range(max(circuit.measured, 1))
    if circuit.readout == "expval":
        # The adjoint method returns ⟨Z⟩ in single precision, but projectors in double.
        return [qml.expval(qml.Projector([0], j) if adjoint else qml.Z(j)) for j in read]
    if adjoint:
        # The adjoint method has no derivative of probabilities, but of expectations.
        bits = product((0, 1), repeat=len(read))
        return [qml.expval(qml.Projector(state, read)) for state in bits]
    return qml.probs(wires=read)


@cache
def _linear(circuit: Circuit, gate: Gate) -> Linear:
    return Linear(gate.angles, circuit)
