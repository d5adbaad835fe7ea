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
from qmoe_fed.errors import UserError


def run(circuit: Circuit, x: Tensor, theta: Tensor, device: str = "default.qubit") -> Tensor:
    """Return what the circuit reads out; arguments, shapes and errors as ``statevector.run``.

    Leading dimensions are looped over. The result has the dtype of ``x``.

    Args:
        device: Name of a PennyLane device, e.g. ``lightning.qubit``.

    Raises:
        UserError: PennyLane has no such device, or there are more features than qubits.
    """
    features = x.shape[-1]
    if not 1 <= features <= circuit.qubits:
        raise UserError(
            f"{features} features do not fit {circuit.qubits} qubits: "
            f"1 to {circuit.qubits} can be embedded"
        )
    x = x[..., [j % features for j in range(circuit.qubits)]]
    lead = torch.broadcast_shapes(x.shape[:-2], theta.shape[: -len(circuit.parameter_shape)])
    x = x.expand(*lead, *x.shape[-2:])
    theta = theta.expand(*lead, *circuit.parameter_shape)
    call = _qnode(circuit, device)
    rows = [call(x[i], theta[i]) for i in product(*map(range, lead))]
    return torch.stack(rows).reshape(*lead, x.shape[-2], circuit.outputs).to(x.dtype)
