"""The state from which the Pauli engine starts: qubits in state 0, turned by features at first."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from qmoe_fed.circuits.circuit import Circuit
from qmoe_fed.circuits.general import product_state, reorder
from qmoe_fed.circuits.noise.transfer import paulis, rotation_parts
from qmoe_fed.circuits.operations import Angle, Gate
from qmoe_fed.circuits.schedule import AXES
from qmoe_fed.circuits.tables import Constant, Linear

NOT_ZERO = {"x": [0, 2, 3], "y": [0, 1, 3], "z": [0, 3]}
"""Coefficients of state 0 after a rotation: 1, a sine and a cosine."""


class Start:
    """The coefficients of a state, a product of what single qubits and embeddings contribute.

    Args:
        circuit: The circuit.
        heads: The first rotation of each qubit, None if it has none.
        prepared: Amplitude embeddings.
    """

    def __init__(
        self, circuit: Circuit, heads: Sequence[Gate | None], prepared: Sequence[Gate]
    ) -> None:
        def linear(angles: Sequence[Angle]) -> Linear:
            return Linear(angles, circuit.features, circuit.parameters)

        axes = [AXES[head.name] if head else "z" for head in heads]
        taken = [wire for gate in prepared for wire in gate.wires]
        self.order = [j for j in range(len(heads)) if j not in taken] + taken
        self.free = len(heads) - len(taken)
        self.angles = linear([head.angles[0] if head else Angle() for head in heads])
        self.states = Constant(
            np.stack([rotation_parts(axis).double[..., [0, 3]].sum(-1) for axis in axes], 1)
        )
        self.prepared = [
            (linear(g.angles), Constant(paulis(len(g.wires)).real.copy())) for g in prepared
        ]
        digits = [list(range(4)) if prepared else NOT_ZERO[axis] for axis in axes]
        self.digits = [Constant(np.array(kept)) for kept in digits]
        numbers = np.zeros(1, np.int64)
        for kept in digits:
            numbers = (4 * numbers[:, None] + np.array(kept)).ravel()
        self.numbers = Constant(numbers)

    def coefficients(self, x: Tensor, theta: Tensor) -> Tensor:
        """Return all coefficients, ``(..., B or 1, 4^w)``."""
        factors = self._factors(x, theta)
        parts = [product_state(factors[..., self.order[: self.free], :])] if self.free else []
        for amplitudes, pauli in self.prepared:
            psi = normalize(amplitudes(x, theta), dim=-1)
            parts.append(torch.einsum("...i,pij,...j->...p", psi, pauli(psi), psi))
        whole = parts[0]
        for part in parts[1:]:
            whole = (whole[..., :, None] * part[..., None, :]).flatten(-2)
        return reorder(whole, self.order, sorted(self.order), 4)

    def nonzero(self, x: Tensor, theta: Tensor) -> tuple[Tensor, Tensor]:
        """Return the coefficients that may differ from zero, and their numbers."""
        numbers = self.numbers(x)
        if self.prepared:
            return self.coefficients(x, theta), numbers
        factors = self._factors(x, theta)
        whole = factors[..., 0, self.digits[0](x)]
        for j, digits in enumerate(self.digits[1:], 1):
            whole = (whole[..., :, None] * factors[..., None, j, digits(x)]).flatten(-2)
        return whole, numbers

    def _factors(self, x: Tensor, theta: Tensor) -> Tensor:
        fixed, cosine, sine = self.states(x)
        angles = self.angles(x, theta).unsqueeze(-1)
        return fixed + angles.cos() * cosine + angles.sin() * sine
