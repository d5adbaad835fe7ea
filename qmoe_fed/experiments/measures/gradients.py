"""Do gradients vanish as circuits grow?

A variance over random parameters that falls exponentially with the number of qubits is a barren
plateau (McClean et al., Nature Communications 9, 4812, 2018). Whether it does depends on what is
read: one basis state of all qubits is a global observable, a marginal of few a local one (Cerezo
et al., Nature Communications 12, 1791, 2021).
"""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from qmoe_fed import rng
from qmoe_fed.circuits import Circuit, statevector
from qmoe_fed.circuits.ansatz import layered
from qmoe_fed.experiments.cells import Measured, to_rows

SINGLE, MARGINAL = "basis state", "marginal"
READOUTS = SINGLE, MARGINAL

_BLOCK = 100  # draws differentiated at a time: those of 12 qubits and 16 layers take 1 GB


def variances(
    qubits: Sequence[int], layers: int, readout: str, init_angle: float, draws: int, seed: int
) -> Measured:
    """Measure Var[∂P/∂θ₁₁] over random inputs and parameters of the paper's circuit.

    P is the probability that all qubits, or the first one, are 0; θ₁₁ is the angle of the first
    qubit in the first layer; inputs are uniform in [0, π].

    Args:
        qubits: Numbers of qubits n; each has a row with its ``variance``.
        layers: Number of layers L.
        readout: One of ``READOUTS``.
        init_angle: Parameters are uniform in [-init_angle, init_angle], radians.
        draws: Number of random inputs and parameters.
        seed: Keys the draws.
    """
    found = []
    for n in qubits:
        circuit = replace(layered(n, layers, n), measured=n if readout == SINGLE else 1)
        x = math.pi * rng.uniform(seed, "gradient/x", range(draws), (1, n))
        unit = rng.uniform(seed, "gradient/theta", range(draws), (layers * n,))
        parts = (
            torch.from_numpy(a).float().split(_BLOCK) for a in (x, init_angle * (2 * unit - 1))
        )
        gradients = [_gradient(circuit, *block) for block in zip(*parts, strict=True)]
        found.append(float(torch.cat(gradients).var()))
    return Measured(to_rows({"qubits": qubits, "variance": found}))


def _gradient(circuit: Circuit, x: Tensor, theta: Tensor) -> Tensor:
    """Return ∂P/∂θ₁₁, shape ``(D,)``, for x ``(D, 1, n)`` and theta ``(D, L·n)``."""
    theta.requires_grad_()
    probability = statevector.run(circuit, x, theta)[..., 0]
    (gradient,) = torch.autograd.grad(probability.sum(), theta)
    return gradient[:, 0]


def decay_per_qubit(qubits: Sequence[int], variances: Sequence[float]) -> float:
    """Return b of the best fit variance ∝ bⁿ; b well below 1 is a barren plateau."""
    slope, _ = np.polyfit(np.asarray(qubits, float), np.log(np.asarray(variances, float)), 1)
    return float(np.exp(slope))
