"""Exact simulation of a circuit under noise: the fastest method for each of its parts."""

from functools import cache

import numpy as np
import torch
from torch import Tensor

from qmoe_fed.circuits.circuit import Circuit
from qmoe_fed.circuits.frames import segments
from qmoe_fed.circuits.fuse import slotted
from qmoe_fed.circuits.noise import pauli, readout
from qmoe_fed.circuits.noise.cones import Part, observables, parts
from qmoe_fed.circuits.tables import Constant
from qmoe_fed.circuits.whole import Whole
from qmoe_fed.errors import UserError

MOST_QUBITS_IN_ALL = 12
"""Most qubits that may bear on an observable: it takes 4^12 coefficients, and as many a gate."""

MOST_QUBITS, MOST_QUBITS_AT_ANY_STRENGTH, MULTIPLIED_OUT = 4, 3, 2
"""Most qubits for constant matrices, of 16^n entries; where strengths are given later; and for all
between embeddings multiplied out."""


def run(circuit: Circuit, x: Tensor, theta: Tensor, strengths: Tensor) -> Tensor:
    """Return what the circuit reads out.

    Time and memory grow as 4^(qubits in the light cone of the measured ones).

    Args:
        circuit: The circuit, with channels or without.
        x: Features in radians, shape ``(..., B, circuit.features)``.
        theta: Parameters in radians, shape ``(..., P)``. Leading dimensions broadcast against
            those of ``x`` before ``B``.
        strengths: Strengths of channels with slots, shape ``(..., S)``; leading dimensions
            broadcast too.

    Returns:
        Shape ``(..., B, circuit.outputs)``: probabilities that sum to 1, or expectations in
        [-1, 1].

    Raises:
        UserError: Too many qubits bear on what is measured.
    """
    rest, flips = readout.split(circuit)
    values = []
    for part in parts(rest):
        if len(part.qubits) > MOST_QUBITS_IN_ALL:
            raise UserError(
                f"{len(part.qubits)} of {circuit.qubits} qubits bear on what is measured: under "
                f"noise at most {MOST_QUBITS_IN_ALL} can be simulated. Take fewer qubits or "
                "layers, or measure fewer"
            )
        multiplied = _whole(circuit, part)
        if multiplied is None:
            values.append(pauli.expectations(circuit, part, x, theta, strengths))
        else:
            values.append(multiplied(x, theta, strengths))
    read = values[0] if len(values) == 1 else torch.cat(values, -1)
    if circuit.readout == "probs":
        read = read @ _shares(circuit)(read) + 1 / circuit.outputs
    if read.shape[-2] < x.shape[-2]:
        read = read.expand(*read.shape[:-2], x.shape[-2], -1)
    return readout.apply(circuit, flips, read, strengths)


@cache
def _whole(circuit: Circuit, part: Part) -> Whole | None:
    """Return the part as constant matrices and phases, if its qubits are few."""
    n = len(part.qubits)
    most = MOST_QUBITS_AT_ANY_STRENGTH if any(map(slotted, part.operations)) else MOST_QUBITS
    if n > most or any(o.name == "amplitude-embedding" for o in part.operations):
        return None
    by_phases = n > MULTIPLIED_OUT or len(segments(part.operations, False)) > 1
    readout = np.eye(4**n)[:, list(part.strings)]
    return Whole(circuit, n, part.operations, "pauli", by_phases, readout)


@cache
def _shares(circuit: Circuit) -> Constant:
    """Return the share of each observable in each probability."""
    products = observables(circuit)
    masks = [sum(1 << circuit.measured - 1 - j for j in product) for product in products]
    signs = [[(-1.0) ** (mask & i).bit_count() for i in range(circuit.outputs)] for mask in masks]
    shape = (len(masks), circuit.outputs)
    return Constant(np.array(signs).reshape(shape) / circuit.outputs)
