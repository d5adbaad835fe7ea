"""The parameter-shift rule for any list of operations.

A rotation by an angle a enters probabilities as cos a and sin a, so two circuits give the
derivative: dp/da = (p(a + π/2) - p(a - π/2))/2. A controlled one also enters as cos a/2 and sin a/2,
which takes four (Anselmetti et al., "Local, expressive, quantum-number-preserving VQE ansätze for
fermionic systems", 2021). An angle passes its derivative on to each parameter in it, times the
coefficient; a parameter collects from all angles that it is in. Channels change none of this.
"""

import math
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
from numpy.typing import NDArray

from qmoe_fed.circuits import Circuit, Gate, Operation, parameter
from qmoe_fed.errors import UserError

TWO = ((math.pi / 2, 0.5), (-math.pi / 2, -0.5))
_near, _far = ((math.sqrt(2) + s) / (4 * math.sqrt(2)) for s in (1, -1))
FOUR = (
    *((math.pi / 2, _near), (-math.pi / 2, -_near)),
    *((3 * math.pi / 2, -_far), (-3 * math.pi / 2, _far)),
)
RULES = {
    **dict.fromkeys(("RX", "RY", "RZ", "Rot"), TWO),
    **dict.fromkeys(("CRX", "CRY", "CRZ"), FOUR),
}
"""By how much an angle is shifted, and the coefficient of that circuit in the derivative."""


@dataclass(frozen=True, eq=False)
class Shifts:
    """J circuits whose outputs make up the derivatives of one.

    Attributes:
        circuit: The circuit, where M angles have one more parameter each, after those it had.
        offsets: Values of these parameters, ``(J, M)``.
        shares: Coefficients of the J circuits in the P derivatives, ``(J, P)``.
    """

    circuit: Circuit
    offsets: NDArray[np.float64]
    shares: NDArray[np.float64]


@cache
def shift(circuit: Circuit) -> Shifts:
    """Return the circuits that give the derivatives of a circuit with respect to its parameters.

    Raises:
        UserError: A gate with parameters has no such rule.
    """
    operations: list[Operation] = []
    found: list[tuple[int, float, dict[int, float]]] = []  # angle, shift, coefficients
    count = 0
    for operation in circuit.operations:
        if isinstance(operation, Gate) and any(a.parameters for a in operation.angles):
            if operation.name not in RULES:
                raise UserError(
                    f"{operation.name} on wires {operation.wires}: its parameters have no "
                    "parameter-shift rule; use shot-gradients = 'exact'"
                )
            angles = list(operation.angles)
            for i, angle in enumerate(operation.angles):
                if angle.parameters:
                    angles[i] = angle + parameter(circuit.parameters + count)
                    for by, share in RULES[operation.name]:
                        found.append((count, by, {k: share * c for k, c in angle.parameters}))
                    count += 1
            operation = replace(operation, angles=tuple(angles))
        operations.append(operation)
    offsets, shares = np.zeros((len(found), count)), np.zeros((len(found), circuit.parameters))
    for row, (which, by, coefficients) in enumerate(found):
        offsets[row, which] = by
        for k, share in coefficients.items():
            shares[row, k] = share
    return Shifts(replace(circuit, operations=tuple(operations)), offsets, shares)
