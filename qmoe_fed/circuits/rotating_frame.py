"""The state of a circuit of RY and CZ in the basis in which every RY is a phase.

All RY commute. In their common eigenbasis, the products of |±i⟩ = (|0⟩ ± i|1⟩)/√2, a layer
⊗RY(aⱼ) multiplies the amplitude of |s₁…sₙ⟩, sⱼ = ±1, by exp(-i Σ sⱼaⱼ/2). A real state has
conjugate amplitudes at s and -s, so the half with s₁ = +1 says everything: 2^(n-1) complex numbers
z, or as many real ones as there are basis states. The entangler becomes one constant matrix G, the
same for all layers, samples and clients. A layer is then z ← (G z)·exp(iω(θ)), and embedding x
again costs one more factor exp(iω(x)), which is the same in every layer.
"""

from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qmoe_fed.circuits.circuit import Circuit
from qmoe_fed.circuits.kronecker import cz_signs

MOST_QUBITS = 8
"""G is dense: beyond this, layer by layer Kronecker products are faster."""


def amplitudes(circuit: Circuit, x: Tensor, theta: Tensor) -> Tensor:
    """Return the state before measurement, shape ``(..., B, 2^n)``; qubit 0 is the leading bit.

    A CZ layer just before the readout is left out: it changes signs only.

    Args:
        circuit: A circuit with real amplitudes.
        x: An angle for each qubit, shape ``(..., B, n)``.
        theta: Shape ``(..., L, n)``.
    """
    n, dtype = circuit.qubits, x.dtype
    frequencies = torch.from_numpy(_frequencies(n)).to(x)
    basis = torch.from_numpy(_basis(n)).to(x)
    embedding = _phases(x @ frequencies)
    layers = _phases(theta.to(dtype) @ frequencies).unsqueeze(-2)

    z = embedding * (layers[..., 0, :, :] * _as_complex(basis[:, 0]))
    for layer in range(1, circuit.layers):
        if circuit.entangler == "cz":
            z = _as_complex(_as_real(z) @ torch.from_numpy(_entangler(n)).to(x))
        phases = layers[..., layer, :, :]
        z = z * (phases * embedding if circuit.reuploading else phases)
    return _as_real(z) @ basis


def _phases(angles: Tensor) -> Tensor:
    return torch.complex(angles.cos(), angles.sin())


def _as_real(z: Tensor) -> Tensor:
    return torch.view_as_real(z).flatten(-2)


def _as_complex(values: Tensor) -> Tensor:
    return torch.view_as_complex(values.unflatten(-1, (-1, 2)).contiguous())


@cache
def _frequencies(qubits: int) -> NDArray[np.float64]:
    """Return -s/2 for all sign patterns s with s₁ = +1, shape ``(n, 2^(n-1))``."""
    bits = np.arange(2 ** (qubits - 1)) >> np.arange(qubits)[::-1, None] & 1
    return bits.astype(np.float64) - 0.5


@cache
def _basis(qubits: int) -> NDArray[np.float64]:
    """Return the real orthogonal matrix from ψ to (Re z₁, Im z₁, Re z₂, …), ``(2^n, 2^n)``."""
    one = np.array([[1, -1j], [1, 1j]]) / np.sqrt(2)  # ⟨+i|, ⟨-i|
    rows = np.ones((1, 1))
    for _ in range(qubits):
        rows = np.kron(rows, one)
    half = np.sqrt(2) * rows[: 2 ** (qubits - 1)]
    return np.stack([half.real, half.imag], 1).reshape(2**qubits, -1)


@cache
def _entangler(qubits: int) -> NDArray[np.float64]:
    """Return the transpose of G, the CZ chain between (Re z, Im z), shape ``(2^n, 2^n)``."""
    basis = _basis(qubits)
    return basis @ (cz_signs(qubits)[:, None] * basis.T)
