"""Exact simulation in torch: the state by the fastest method for the circuit, then the readout.

Circuits with channels go to the density engines, but for bit flips at the end, which only mix what
is read.
"""

from functools import cache

import numpy as np
import torch
from torch import Tensor

from qmoe_fed.circuits import general, kronecker, whole
from qmoe_fed.circuits.circuit import Circuit
from qmoe_fed.circuits.noise import density, readout
from qmoe_fed.circuits.schedule import pure
from qmoe_fed.circuits.tables import Constant
from qmoe_fed.errors import UserError


def run(circuit: Circuit, x: Tensor, theta: Tensor, strengths: Tensor | None = None) -> Tensor:
    """Return what the circuit reads out.

    Args:
        circuit: The circuit.
        x: Features in radians, shape ``(..., B, d)`` with ``d >= circuit.features``; what the
            circuit does not name is not used.
        theta: Parameters in radians, shape ``(..., P)``. Leading dimensions broadcast against
            those of ``x`` before ``B``.
        strengths: Strengths of channels with slots, shape ``(..., S)``, not checked; leading
            dimensions broadcast too. None if there are no slots.

    Returns:
        Shape ``(..., B, circuit.outputs)``: probabilities that sum to 1, or expectations in
        [-1, 1].

    Raises:
        UserError: There are too few features, not P parameters or not S strengths, or the circuit
            is noisy and too large for that.
    """
    x, theta, strengths = check_inputs(circuit, x, theta, strengths)
    if not circuit.noisy:
        return read_out(circuit, amplitudes(circuit, x, theta), x)
    ideal, flips = readout.split(circuit)
    if ideal.noisy:
        outcomes = density.run(ideal, x, theta, strengths)
    else:
        outcomes = read_out(ideal, amplitudes(ideal, x, theta), x)
    return readout.apply(circuit, flips, outcomes, strengths)


def check_inputs(
    circuit: Circuit, x: Tensor, theta: Tensor, strengths: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the circuit's features, θ and strengths in one precision.

    Raises:
        UserError: They do not fit the circuit.
    """
    dtype, d = x.dtype, x.shape[-1]
    if d < circuit.features:
        raise UserError(f"{d} features: the circuit reads {circuit.features}")
    if theta.shape[-1] != circuit.parameters:
        raise UserError(f"{theta.shape[-1]} parameters: the circuit has {circuit.parameters}")
    given = 0 if strengths is None else strengths.shape[-1]
    if given != circuit.strengths:
        raise UserError(
            f"{given} strengths of noise: the circuit has slots for {circuit.strengths}"
        )
    strengths = x.new_zeros(0) if strengths is None else strengths
    return x if d == circuit.features else x[..., : circuit.features], theta.to(dtype), strengths


def amplitudes(circuit: Circuit, x: Tensor, theta: Tensor) -> Tensor:
    """Return the state of a circuit without channels by the fastest method for it.

    Shape ``(..., B or 1, 2^w)`` for the w qubits that bear on what is measured, see
    ``schedule.pure``. Phases may differ between methods, and (Re, Im) may stand side by side.
    """
    part = pure(circuit)
    if (few := whole.of_part(part)) is not None:
        return few(x, theta, x)
    method = kronecker if kronecker.fits(part) else general
    return method.amplitudes(part, x, theta)


def read_out(circuit: Circuit, psi: Tensor, x: Tensor) -> Tensor:
    """Return probabilities or expectations ``(..., B, outputs)`` of states ``(..., B or 1, 2^w)``.

    Instead of complex amplitudes there may be twice as many real ones, (Re, Im) of each.
    """
    parts = torch.view_as_real(psi).flatten(-2) if psi.is_complex() else psi
    probabilities = parts * parts  # its gradient is faster than that of square()
    if probabilities.shape[-1] > 2**circuit.measured:
        probabilities = probabilities.unflatten(-1, (2**circuit.measured, -1)).sum(-1)
    if circuit.readout == "expval":
        probabilities = probabilities @ _z_signs(circuit.measured)(x)
    if probabilities.shape[-2] == x.shape[-2]:
        return probabilities
    return probabilities.expand(*probabilities.shape[:-2], x.shape[-2], -1)


@cache
def _z_signs(qubits: int) -> Constant:
    bits = np.arange(2**qubits)[:, None] >> np.arange(qubits)[::-1] & 1
    return Constant(1.0 - 2 * bits)
