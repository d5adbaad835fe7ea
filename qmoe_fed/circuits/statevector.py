"""Exact simulation in torch: the state by the fastest method for the circuit, then the readout.

Circuits with channels go to the density engines, but for bit flips at the end, which only mix what
is read.
"""

from functools import cache

import numpy as np
import torch
from torch import Tensor

from qmoe_fed.circuits import general, kronecker, series, whole
from qmoe_fed.circuits.circuit import Circuit
from qmoe_fed.circuits.kronecker import Entangler
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
    if (few := series.of_inputs(circuit, x, theta)) is not None:
        return few(x, theta)
    if not circuit.noisy:
        return _measured(circuit, x, theta)
    ideal, flips = readout.split(circuit)
    if ideal.noisy:
        outcomes = density.run(ideal, x, theta, strengths)
    else:
        outcomes = _measured(ideal, x, theta)
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
    strengths = _NONE(x) if strengths is None else strengths
    return x if d == circuit.features else x[..., : circuit.features], theta.to(dtype), strengths


def amplitudes(circuit: Circuit, x: Tensor, theta: Tensor) -> Tensor:
    """Return the state of a circuit without channels by the fastest method for it.

    Shape ``(..., B or 1, 2^w)`` for the w qubits that bear on what is measured, see
    ``schedule.pure``. Phases may differ between methods, and (Re, Im) may stand side by side.
    """
    psi, last = _but_last(circuit, x, theta)
    return psi if last is None else last(psi, axis=-1)


def _but_last(circuit: Circuit, x: Tensor, theta: Tensor) -> tuple[Tensor, Entangler | None]:
    """Return a state before what need not be applied to it to read it, and that."""
    part = pure(circuit)
    if (few := whole.of_part(part)) is not None:
        return few(x, theta, x), None
    if kronecker.fits(part):
        return kronecker.but_last(part, x, theta)
    return general.amplitudes(part, x, theta), None


def read_out(circuit: Circuit, psi: Tensor, x: Tensor, last: Entangler | None = None) -> Tensor:
    """Return probabilities or expectations ``(..., B, outputs)`` of states ``(..., B or 1, 2^w)``.

    Instead of complex amplitudes there may be twice as many real ones, (Re, Im) of each.
    """
    parts = torch.view_as_real(psi) if psi.is_complex() else psi
    read = parts * parts  # its gradient is faster than that of square()
    read = read.sum(-1) if psi.is_complex() else read
    if last is not None or circuit.readout == "expval" or read.shape[-1] > circuit.outputs:
        read = read @ _table(circuit, read.shape[-1], last)(x)
    return read if read.shape[-2] == x.shape[-2] else read.expand(*read.shape[:-2], x.shape[-2], -1)


def _measured(circuit: Circuit, x: Tensor, theta: Tensor) -> Tensor:
    psi, last = _but_last(circuit, x, theta)
    return read_out(circuit, psi, x, last)


@cache
def _table(circuit: Circuit, size: int, last: Entangler | None) -> Constant:
    """Return what each probability counts for, ``(size, outputs)``."""
    outcomes = np.arange(size) * 2**circuit.measured // size
    if circuit.readout == "probs":
        table = np.eye(circuit.outputs)[outcomes]
    else:
        bits = outcomes[:, None] >> np.arange(circuit.measured)[::-1] & 1
        table = 1.0 - 2 * bits
    if last is not None and last.order is not None:
        table[last.order.values] = table.copy()
    return Constant(table)


_NONE = Constant(np.zeros(0))
