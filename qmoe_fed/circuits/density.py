"""Exact simulation of a circuit under noise: the fastest method for each of its parts."""

from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qmoe_fed.circuits import density_frame, pauli
from qmoe_fed.circuits.channels import Noise
from qmoe_fed.circuits.circuit import Circuit
from qmoe_fed.circuits.program import observables, parts
from qmoe_fed.errors import UserError

MOST_QUBITS = 12
"""Most qubits that may bear on an observable: it takes 4^12 coefficients, and as many a gate."""


def run(circuit: Circuit, x: Tensor, theta: Tensor, noise: Noise) -> Tensor:
    """Return what the circuit reads out under noise.

    Time and memory grow as 4^(qubits in the light cone of the measured ones).

    Args:
        circuit: The circuit.
        x: Features in radians, shape ``(..., B, d)`` with ``1 <= d <= n``.
        theta: Parameters in radians, shape ``(..., *circuit.parameter_shape)``. Leading
            dimensions broadcast against those of ``x`` before ``B``.
        noise: The noise; dimensions of its strength and readout error broadcast against the
            leading dimensions of ``x`` and ``theta``.

    Returns:
        Shape ``(..., B, circuit.outputs)``: probabilities that sum to 1, or expectations in
        [-1, 1].

    Raises:
        UserError: There are more features than qubits, or none, or too many qubits bear on what
            is measured.
    """
    n, x = circuit.qubits, circuit.embedded_angles(x)
    theta = theta.to(x.dtype)
    if circuit.entangler == "strongly-entangling":
        theta = theta.mT.flatten(-3, -2)  # (..., turns, n) in order
    values = []
    for part in parts(circuit, noise.placement):
        if len(part.qubits) > MOST_QUBITS:
            raise UserError(
                f"{len(part.qubits)} of {n} qubits bear on what is measured: under noise at most "
                f"{MOST_QUBITS} can be simulated. Take fewer qubits or layers, or measure fewer"
            )
        method = density_frame if density_frame.fits(part, noise) else pauli
        own = (x, theta)
        if len(part.qubits) < n:
            own = (x[..., part.qubits], theta[..., part.qubits])
        values.append(method.expectations(circuit, part, *own, noise))
    return _read(circuit, values[0] if len(values) == 1 else torch.cat(values, -1), noise)


def _read(circuit: Circuit, values: Tensor, noise: Noise) -> Tensor:
    """Return the readout given the expectations ``(..., B, M)`` of the observables."""
    weights, shares = (torch.from_numpy(array).to(values) for array in _tables(circuit))
    flip = noise.readout_error
    if isinstance(flip, Tensor):
        values = values * (1 - 2 * flip.to(values)[..., None, None]) ** weights
    elif flip > 0:
        values = values * (1 - 2 * flip) ** weights
    if circuit.readout == "expval":
        return values
    return values @ shares + 1 / circuit.outputs


@cache
def _tables(circuit: Circuit) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    """Return how many qubits each observable is on, and its share in each probability."""
    products = observables(circuit)
    masks = [sum(1 << circuit.measured - 1 - j for j in product) for product in products]
    signs = [[(-1) ** (mask & i).bit_count() for i in range(circuit.outputs)] for mask in masks]
    shares = np.array(signs, np.float32).reshape(len(masks), circuit.outputs) / circuit.outputs
    weights = np.array([len(product) for product in products], np.float32)
    return weights, shares
