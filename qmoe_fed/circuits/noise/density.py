"""Exact simulation of a circuit under noise: the fastest method for each of its parts."""

from dataclasses import replace
from functools import cache, partial

import numpy as np
import torch
from torch import Tensor

from qmoe_fed.circuits.circuit import Circuit
from qmoe_fed.circuits.frames import segments
from qmoe_fed.circuits.noise import pauli
from qmoe_fed.circuits.schedule import Part, felt, local, primitives, slotted
from qmoe_fed.circuits.tables import Constant
from qmoe_fed.circuits.whole import Whole
from qmoe_fed.errors import UserError

MOST_QUBITS_IN_ALL = 12
"""Most qubits that may bear on an observable: it takes 4^12 coefficients, and as many a gate."""

OVERHEAD = 4**8
"""What it costs to simulate a part, however small, in coefficients of observables."""

MOST_QUBITS, MOST_QUBITS_AT_ANY_STRENGTH, MULTIPLIED_OUT = 4, 3, 2
"""Most qubits for constant matrices, of 16^n entries; where strengths are given later; and for all
between embeddings multiplied out."""


def run(circuit: Circuit, x: Tensor, theta: Tensor, strengths: Tensor) -> Tensor:
    """Return what the circuit reads out, with channels or without; as ``statevector.run``.

    Time and memory grow as 4^(qubits in the light cone of the measured ones).

    Raises:
        UserError: Too many qubits bear on what is measured.
    """
    values = []
    for part in parts(circuit):
        if len(part.qubits) > MOST_QUBITS_IN_ALL:
            raise UserError(
                f"{len(part.qubits)} of {circuit.qubits} qubits bear on what is measured: under "
                f"noise at most {MOST_QUBITS_IN_ALL} can be simulated. Take fewer qubits or "
                "layers, or measure fewer"
            )
        method = _whole(part) or partial(pauli.expectations, part)
        values.append(method(x, theta, strengths))
    read = values[0] if len(values) == 1 else torch.cat(values, -1)
    if circuit.readout == "probs":
        read = read @ _shares(circuit)(read) + 1 / circuit.outputs
    if read.shape[-2] == x.shape[-2]:
        return read
    return read.expand(*read.shape[:-2], x.shape[-2], -1)


@cache
def _whole(part: Part) -> Whole | None:
    """Return the part as constant matrices and phases, if its qubits are few."""
    n = len(part.qubits)
    most = MOST_QUBITS_AT_ANY_STRENGTH if any(map(slotted, part.operations)) else MOST_QUBITS
    if n > most or any(o.name == "amplitude-embedding" for o in part.operations):
        return None
    by_phases = n > MULTIPLIED_OUT or len(segments(part.operations, False)) > 1
    readout = np.eye(4**n)[:, list(part.strings)]
    return Whole(part, "pauli", by_phases, readout)


def observables(circuit: Circuit) -> list[tuple[int, ...]]:
    """Return the measured qubits of each product of Z that the readout is made of.

    For probabilities these are all products, as bit masks ascending, but the empty one.
    """
    if circuit.readout == "expval":
        return [(j,) for j in range(circuit.measured)]
    last = circuit.measured - 1
    return [
        tuple(j for j in range(circuit.measured) if mask >> (last - j) & 1)
        for mask in range(1, circuit.outputs)
    ]


@cache
def parts(circuit: Circuit) -> list[Part]:
    """Return the circuit for its observables, in order, apart where that saves much."""
    return _split(circuit, observables(circuit))


def _split(circuit: Circuit, products: list[tuple[int, ...]]) -> list[Part]:
    whole = light_cone(circuit, products)
    if len(products) < 2:
        return [whole]
    middle = len(products) // 2
    halves = [*_split(circuit, products[:middle]), *_split(circuit, products[middle:])]
    return halves if sum(map(_cost, halves)) < _cost(whole) else [whole]


def _cost(part: Part) -> int:
    return OVERHEAD + len(part.strings) * 4 ** len(part.qubits)


def light_cone(circuit: Circuit, products: list[tuple[int, ...]]) -> Part:
    """Leave out what products of Z of some qubits cannot feel, see ``felt``."""
    operations = primitives(circuit)
    kept, cone = felt(operations, {j for product in products for j in product} or {0})
    part = local(circuit, [operations[i] for i in kept], cone)
    last = len(cone) - 1
    strings = [sum(3 * 4 ** (last - part.qubits.index(j)) for j in own) for own in products]
    return replace(part, strings=tuple(strings))


@cache
def _shares(circuit: Circuit) -> Constant:
    """Return the share of each observable in each probability."""
    every = range(circuit.outputs)  # an observable's number is the mask of its qubits
    signs = np.array([[(-1.0) ** (mask & i).bit_count() for i in every] for mask in every])
    return Constant(signs[1:] / circuit.outputs)
