"""Circuits of few rotations as sums of waves, for one θ and few samples.

What is read is a sum of cosines and sines of sums ±a₁±a₂… of angles (Schuld, Sweke & Meyer, "Effect
of data encoding on the expressive power of variational quantum machine learning models", 2021).
Observables travel backwards in the Pauli basis, where a rotation makes three terms of one; but many
vanish: of 3 layers of RY and CZ on 2 qubits 209 of 365 are left, of those that 2 of many qubits
feel 593 of 9,842. That takes few operations of torch and much arithmetic.
"""

from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qmoe_fed.circuits.blocks import expanded
from qmoe_fed.circuits.circuit import Circuit
from qmoe_fed.circuits.frames import segments
from qmoe_fed.circuits.noise.density import light_cone, observables, shares
from qmoe_fed.circuits.operations import Angle, feature
from qmoe_fed.circuits.schedule import gather
from qmoe_fed.circuits.tables import Constant, Linear
from qmoe_fed.circuits.transfer import Array

Signs = NDArray[np.float64]

MOST_WAVES, FEW = 20_000, 1_000
"""Most cosines of all samples together; beyond, other methods are faster."""

LARGEST = 2**17
"""Most numbers in a table."""

MOST_TERMS, MOST_KEYS, LEAST = 2**17, 2**62, 1e-14
"""Most coefficients on the way, and numbers for them; and what is taken for 0."""


class Series:
    """What a circuit reads out, from its waves.

    Args:
        circuit: The circuit.
        turned: Its angles.
        signs: Of each wave, how often it has each angle, ``(F, m)``.
        values: What goes with exp(i·wave), ``(F, 1 + observables)``; that of 1 comes first.
    """

    def __init__(self, circuit: Circuit, turned: list[Angle], signs: Signs, values: Array) -> None:
        # Waves of opposite signs have conjugate values: of two, the one whose first sign is 1.
        leading = signs @ 3.0 ** -np.arange(signs.shape[1])
        signs, values = signs[leading >= 0], values[leading >= 0]
        values = values * np.where(leading[leading >= 0] > 0, 2, 1)[:, None]
        self.probabilities = circuit.readout == "probs"
        if self.probabilities:
            values = values[:, :1] / circuit.outputs + values[:, 1:] @ shares(circuit).values
        else:
            values = values[:, 1:]

        both = np.concatenate([values.real, -values.imag])
        of_x = [[dict(a.features).get(j, 0.0) for j in range(circuit.features)] for a in turned]
        moved, number = np.unique(signs @ of_x, axis=0, return_inverse=True)
        self.outputs, self.moving = circuit.outputs, None
        if 2 * len(moved) * both.size <= LARGEST:
            # What moves with x as another is one wave of x. All of θ comes first, for all samples.
            table = np.zeros((2, len(moved), circuit.outputs, 2, len(signs)))
            rows, own = number.ravel(), range(len(signs))
            table[0, rows, :, 0, own], table[1, rows, :, 1, own] = values.real, -values.real
            table[0, rows, :, 1, own] = table[1, rows, :, 0, own] = -values.imag
            self.angles = Linear([a.fixed for a in turned], circuit, *_waves(signs))
            features = [feature(j) for j in range(circuit.features)]
            self.moving = Linear(features, circuit, *_waves(moved))
            self.values, self.waves = Constant(table.reshape(-1, len(both))), 2 * len(moved)
        else:
            kept = np.flatnonzero(np.abs(both).max(1) > LEAST)
            mix, shift = _waves(signs)
            self.angles = Linear(turned, circuit, mix[:, kept], shift[kept])
            self.values, self.waves = Constant(both[kept]), len(kept)

    def __call__(self, x: Tensor, theta: Tensor) -> Tensor:
        """Return what is read, ``(..., B, outputs)``, of features ``(..., B, d)`` and one θ."""
        if self.moving is None:  # so many numbers are added up that it takes double precision
            wide = x.double()
            read = (self.angles.of_one(wide, theta.double()).cos() @ self.values(wide)).to(x.dtype)
        else:
            still = self.values(x).mv(self.angles.of_one(x, theta).cos()).view(-1, self.outputs)
            read = self.moving.of_one(x, theta).cos() @ still
        if self.probabilities:  # not below 0, whatever rounding did
            read = read - read.detach().clamp(max=0)
        return read.expand(*x.shape[:-1], -1) if read.dim() < x.dim() else read


def _waves(signs: Signs) -> tuple[Signs, Signs]:
    """Return the mix and shift of angles of which cosines are cosines, then sines, of waves."""
    return np.tile(signs, (2, 1)).T, np.repeat([0, -np.pi / 2], len(signs))


def of_inputs(circuit: Circuit, x: Tensor, theta: Tensor) -> Series | None:
    """Return a circuit as a series, if that is the fastest way for so many samples."""
    samples = x.shape[:-1].numel()
    if theta.dim() > 1 or circuit.strengths or not 0 < samples <= FEW or x.device.type != "cpu":
        return None
    if torch._C._functorch.peek_interpreter_stack() is not None:
        return None  # vmap may hide any number of samples
    found = of_circuit(circuit)
    return found if found is not None and samples * found.waves <= MOST_WAVES else None


@cache
def of_circuit(circuit: Circuit) -> Series | None:
    """Return a circuit as a series, if θ is in it and that may be the fastest way."""
    part = light_cone(circuit, observables(circuit))
    blocks, strings = gather(part.operations, most=2, turns=1), [0, *part.strings]
    turned = [a for block in blocks for a in block.angles]
    qubits, count, size = len(part.qubits), 0, 4 ** len(part.qubits)
    if (
        max(len(strings), size * 3 ** len(turned)) > MOST_KEYS
        or not part.strings
        or not any(a.parameters for a in turned)
        or any(o.name == "amplitude-embedding" for o in part.operations)
    ):
        return None
    # A term's key: its product of Paulis in base 4, below the sign of each angle in base 3.
    keys, terms = np.array(strings), np.eye(len(strings), dtype=complex)
    for block in reversed(blocks):
        _, (matrices,) = expanded(block, 4)
        places = 4 ** (qubits - 1 - np.array(block.wires))
        digits = np.arange(matrices.shape[-1])[:, None] // 4 ** np.arange(len(places))[::-1] % 4
        before = keys[:, None] // places % 4 @ 4 ** np.arange(len(places))[::-1]
        sign, term, after = np.nonzero(np.abs(matrices[:, before]) > LEAST)
        before, terms = before[term], terms[term]
        reached = keys[term] + (digits[after] - digits[before]) @ places + size * 3**count * sign
        keys, same = np.unique(reached, return_inverse=True)
        added = np.zeros((len(keys), len(strings)), complex)
        np.add.at(added, same, matrices[sign, before, after, None] * terms)
        terms, count = added, count + len(block.angles)
        if added.size > MOST_TERMS:
            return None
    zero = np.isin(keys[:, None] // 4 ** np.arange(qubits) % 4, (0, 3)).all(1)  # 1 and Z
    found, same = np.unique(keys[zero] // size, return_inverse=True)
    values = np.zeros((len(found), len(strings)), complex)
    np.add.at(values, same, terms[zero])
    kept = np.abs(values).max(1) > LEAST
    digits = found[kept, None] // 3 ** np.arange(count)[::-1] % 3
    series = Series(circuit, turned, np.array([0.0, 1, -1])[digits], values[kept])
    once = len(segments(part.operations, phases=False)) == 1
    return None if once and series.moving is None else series
