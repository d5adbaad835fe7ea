"""The state of a circuit of RY and CZ in the basis in which every RY is a phase.

All RY commute. In their common eigenbasis, the products of |±i⟩ = (|0⟩ ± i|1⟩)/√2, a layer
⊗RY(aⱼ) multiplies the amplitude of |s₁…sₙ⟩, sⱼ = ±1, by exp(-i Σ sⱼaⱼ/2). A real state has
conjugate amplitudes at s and -s, so the half with s₁ = +1 says everything: 2^(n-1) complex numbers
z, or as many real ones as there are basis states. The entangler becomes one constant matrix G, the
same for all layers, samples and clients. A layer is then z ← (G z)·exp(iω(θ)), and embedding x
again costs one more factor exp(iω(x)), which is the same in every layer.

What follows the embedding is the same for every sample if x is not embedded again. For few qubits
it is then cheapest to multiply every layer out: the entries of its matrix are linear in cos ω(θ)
and sin ω(θ).
"""

from collections.abc import Callable, Iterator
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qmoe_fed.circuits.circuit import Circuit
from qmoe_fed.circuits.kronecker import cz_signs

MOST_QUBITS = 8
"""G is dense: beyond this, layer by layer Kronecker products are faster."""

MULTIPLIED_OUT = 4
"""Most qubits for which layers are multiplied out: the table for it has 8^n entries."""


def amplitudes(circuit: Circuit, x: Tensor, theta: Tensor) -> Tensor:
    """Return the state before measurement, shape ``(..., B, 2^n)``; qubit 0 is the leading bit.

    A CZ layer just before the readout is left out: it changes signs only.

    Args:
        circuit: A circuit with real amplitudes.
        x: An angle for each qubit, shape ``(..., B, n)``.
        theta: Shape ``(..., L, n)``.
    """
    if circuit.qubits <= MULTIPLIED_OUT and not circuit.reuploading:
        return multiplied_out(circuit, x, theta)
    return by_phases(circuit, x, theta)


def by_phases(circuit: Circuit, x: Tensor, theta: Tensor) -> Tensor:
    """As ``amplitudes``, layer by layer on z."""
    frequencies, entangler, basis = _constants(_frame, x, circuit.qubits)
    embedding = phases(x @ frequencies)
    layers = phases(theta.to(x.dtype).unsqueeze(-2) @ frequencies)
    first, *others = layers.unbind(-3)
    z = embedding * first
    for turn in others:
        if circuit.entangler == "cz":
            z = as_complex(as_real(z) @ entangler)
        z = z * (turn * embedding if circuit.reuploading else turn)
    return as_real(z) @ basis


def multiplied_out(circuit: Circuit, x: Tensor, theta: Tensor) -> Tensor:
    """As ``amplitudes``, without re-uploading: each layer one matrix on the real state."""
    n = circuit.qubits
    frequencies, first, table = _constants(_layer_table, x, n, circuit.entangler == "cz")
    psi = _waves(x @ frequencies) @ first
    layers = (_waves(theta.to(x.dtype) @ frequencies) @ table).unflatten(-1, (2**n, 2**n))
    for layer in layers.unbind(-3):
        psi = psi @ layer
    return psi


def phases(angles: Tensor) -> Tensor:
    """Return exp(i·angles)."""
    return torch.complex(angles.cos(), angles.sin())


def as_real(z: Tensor) -> Tensor:
    """Return (Re z₁, Im z₁, Re z₂, …), shape ``(..., K)`` → ``(..., 2K)``."""
    return torch.view_as_real(z).flatten(-2)


def as_complex(values: Tensor) -> Tensor:
    """Return the complex numbers of which ``as_real`` gives these values."""
    return torch.view_as_complex(values.view(*values.shape[:-1], values.shape[-1] // 2, 2))


def _waves(angles: Tensor) -> Tensor:
    return torch.cat([angles.cos(), angles.sin()], -1)


def _constants(
    make: Callable[..., tuple[NDArray[np.float64], ...]], like: Tensor, *arguments: int
) -> Iterator[Tensor]:
    """Yield constants as tensors like another one."""
    single = like.dtype == torch.float32
    # Arrays are kept, not tensors: one made under torch.func.grad must not outlive it.
    return (torch.from_numpy(array).to(like) for array in _kept(make, single, *arguments))


@cache
def _kept(
    make: Callable[..., tuple[NDArray[np.float64], ...]], single: bool, *arguments: int
) -> tuple[NDArray[np.floating], ...]:
    return tuple(array.astype(np.float32 if single else np.float64) for array in make(*arguments))


def _frame(qubits: int) -> tuple[NDArray[np.float64], ...]:
    """Return the frequencies, Gᵀ, and the way back from z to ψ.

    All amplitudes of |0…0⟩ are 2^-((n-1)/2) here: the way back takes this factor in.
    """
    back = _basis(qubits) * 2 ** (-(qubits - 1) / 2)
    return _frequencies(qubits), _entangler(qubits), back


def _layer_table(qubits: int, entangled: bool) -> tuple[NDArray[np.float64], ...]:
    """Return the frequencies, and what makes states and matrices of (cos ω, sin ω), ``(2^n,)``.

    Times the first table, ``(2^n, 2^n)``, it is the embedded state; times the second,
    ``(2^n, 4^n)``, a layer as a matrix for row vectors, with the entangler before it. There is
    none before the first layer: the first table undoes it.
    """
    size, basis = 2**qubits, _basis(qubits)
    real, imaginary = basis[::2, :, None], basis[1::2, :, None]
    cosines = real * real.mT + imaginary * imaginary.mT
    sines = real * imaginary.mT - imaginary * real.mT
    maps = np.concatenate([cosines, sines])
    signs = cz_signs(qubits) if entangled else np.ones(size)
    return (
        _frequencies(qubits),
        maps[:, 0] * signs,
        (signs[:, None] * maps).reshape(size, -1),
    )


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
