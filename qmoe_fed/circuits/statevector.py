"""Exact simulation in torch: the state by the fastest method for the circuit, then the readout."""

from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qmoe_fed.circuits import kronecker, rotating_frame
from qmoe_fed.circuits.circuit import Circuit


def run(circuit: Circuit, x: Tensor, theta: Tensor) -> Tensor:
    """Return what the circuit reads out.

    Args:
        circuit: The circuit.
        x: Features in radians, shape ``(..., B, d)`` with ``1 <= d <= n``.
        theta: Parameters in radians, shape ``(..., *circuit.parameter_shape)``. Leading
            dimensions broadcast against those of ``x`` before ``B``.

    Returns:
        Shape ``(..., B, circuit.outputs)``: probabilities that sum to 1, or expectations in
        [-1, 1].

    Raises:
        UserError: There are more features than qubits, or none.
    """
    psi = amplitudes(circuit, x, theta)
    parts = psi if circuit.real else torch.view_as_real(psi)
    probabilities = parts * parts  # its gradient is faster than that of square()
    if not circuit.real:
        probabilities = probabilities.sum(-1)
    if circuit.measured < circuit.qubits:
        probabilities = probabilities.unflatten(-1, (2**circuit.measured, -1)).sum(-1)
    if circuit.readout == "expval":
        return probabilities @ torch.from_numpy(_z_signs(circuit.measured)).to(probabilities)
    return probabilities


def amplitudes(circuit: Circuit, x: Tensor, theta: Tensor) -> Tensor:
    """Return the state before measurement, shape ``(..., B, 2^n)``; qubit 0 is the leading bit.

    Args and errors as ``run``. A CZ layer just before the readout is left out: it changes signs
    only.
    """
    x = circuit.embedded_angles(x)
    if circuit.real and circuit.qubits <= rotating_frame.MOST_QUBITS:
        return rotating_frame.amplitudes(circuit, x, theta)
    return kronecker.amplitudes(circuit, x, theta)


@cache
def _z_signs(qubits: int) -> NDArray[np.float32]:
    return (1 - 2 * kronecker.bits(qubits)).astype(np.float32)
