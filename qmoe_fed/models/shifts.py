"""The parameter-shift rule for any list of operations.

A rotation by an angle a enters probabilities as cos a and sin a, so two circuits give the
derivative: dp/da = (p(a + π/2) - p(a - π/2))/2. A controlled one also enters as cos a/2 and
sin a/2, which takes four (Anselmetti et al., "Local, expressive, quantum-number-preserving VQE
ansätze for fermionic systems", 2021). An angle passes its derivative on to each parameter in it,
times the coefficient; a parameter collects from all angles it is in. Channels change none of this.
"""

import math
from dataclasses import replace
from functools import cache

import numpy as np
from numpy.typing import NDArray

from qmoe_fed.circuits import Circuit, Gate, Operation, parameter
from qmoe_fed.errors import UserError

QUARTER, ROOT = math.pi / 2, math.sqrt(2)
TWO = ((QUARTER, 0.5), (-QUARTER, -0.5))
NEAR, FAR = (ROOT + 1) / (4 * ROOT), (ROOT - 1) / (4 * ROOT)
FOUR = ((QUARTER, NEAR), (-QUARTER, -NEAR), (3 * QUARTER, -FAR), (-3 * QUARTER, FAR))
RULES = {
    **dict.fromkeys(("RX", "RY", "RZ", "Rot"), TWO),
    **dict.fromkeys(("CRX", "CRY", "CRZ"), FOUR),
}
"""By how much an angle is shifted, and the coefficient of that circuit in the derivative."""


@cache
def shifts(circuit: Circuit) -> tuple[Circuit, NDArray[np.float64], NDArray[np.float64]]:
    """Return J circuits whose outputs make up the derivatives of one with respect to θ.

    Returns:
        The circuit, where each of M angles has one more parameter, after those it had; the values
        of these parameters, ``(J, M)``; and the coefficients of the J circuits in the P
        derivatives, ``(J, P)``.

    Raises:
        UserError: A gate with parameters has no such rule.
    """
    operations: list[Operation] = []
    found: list[tuple[int, float, dict[int, float]]] = []  # angle, shift, coefficients
    count = 0
    for operation in circuit.operations:
        if not isinstance(operation, Gate):
            operations.append(operation)
            continue
        angles = list(operation.angles)
        for i, angle in enumerate(operation.angles):
            if not angle.parameters:
                continue
            if operation.name not in RULES:
                raise UserError(
                    f"{operation.name} on wires {operation.wires}: its parameters have no "
                    "parameter-shift rule; use shot-gradients = 'exact'"
                )
            angles[i] = angle + parameter(circuit.parameters + count)
            for by, share in RULES[operation.name]:
                found.append((count, by, {k: share * c for k, c in angle.parameters}))
            count += 1
        operations.append(replace(operation, angles=tuple(angles)))
    offsets, shares = np.zeros((len(found), count)), np.zeros((len(found), circuit.parameters))
    for row, (which, by, coefficients) in enumerate(found):
        offsets[row, which] = by
        for k, share in coefficients.items():
            shares[row, k] = share
    return replace(circuit, operations=tuple(operations)), offsets, shares
