"""The state of a circuit of RY and CZ in the basis in which every RY is a phase.

All RY commute. In their common eigenbasis, the products of |±i⟩ = (|0⟩ ± i|1⟩)/√2, a layer
⊗RY(aⱼ) multiplies the amplitude of |s₁…sₙ⟩, sⱼ = ±1, by exp(-i Σ sⱼaⱼ/2). A real state has
conjugate amplitudes at s and -s, so the half with s₁ = +1 says everything: 2^(n-1) complex numbers
z, or as many real ones as there are basis states. CZ between layers become one constant
matrix G, the same for all samples and clients. A layer is then z ← (G z)·exp(iω(θ)), and embedding x
again costs one more factor exp(iω(x)), which is the same in every layer that embeds alike.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qmoe_fed.circuits.circuit import Circuit
from qmoe_fed.circuits.kronecker import permutation
from qmoe_fed.circuits.operations import Angle
from qmoe_fed.circuits.schedule import layers, only, primitives
from qmoe_fed.circuits.tables import Constant, Linear

MOST_QUBITS = 8
"""G is dense: beyond this, layer by layer Kronecker products are faster."""


@cache
def fits(circuit: Circuit) -> bool:
    """Return whether a circuit is made of RY and CZ, on few qubits."""
    return circuit.qubits <= MOST_QUBITS and only(circuit, "RY", "CZ")


def amplitudes(circuit: Circuit, x: Tensor, theta: Tensor) -> Tensor:
    """Return the state, shape ``(..., B or 1, 2^n)``: B if x is in it; qubit 0 is the leading bit.

    CZ just before the readout are left out: they change signs only.

    Args:
        circuit: One that ``fits``.
        x: Features in radians, shape ``(..., B, circuit.features)``.
        theta: Shape ``(..., P)``.
    """
    plan = _plan(circuit)
    turns = phases(plan.turns(x, theta).unflatten(-1, (len(plan.which), 1, -1)))
    embeddings = [phases(embedding(x, theta)) for embedding in plan.embeddings]
    z: Tensor | None = None
    for turn, which, entangler in zip(turns.unbind(-3), plan.which, plan.entanglers, strict=True):
        if z is not None and entangler is not None:
            z = as_complex(as_real(z) @ entangler(x))
        factor = turn if which is None else turn * embeddings[which]
        z = factor if z is None else z * factor
    assert z is not None
    return as_real(z) @ plan.back(x)


def phases(angles: Tensor) -> Tensor:
    """Return exp(i·angles)."""
    return torch.complex(angles.cos(), angles.sin())


def as_real(z: Tensor) -> Tensor:
    """Return (Re z₁, Im z₁, Re z₂, …), shape ``(..., K)`` → ``(..., 2K)``."""
    return torch.view_as_real(z).flatten(-2)


def as_complex(values: Tensor) -> Tensor:
    """Return the complex numbers of which ``as_real`` gives these values."""
    return torch.view_as_complex(values.view(*values.shape[:-1], values.shape[-1] // 2, 2))


@dataclass(frozen=True, eq=False)
class _Plan:
    turns: Linear  # what does not depend on x, of all layers
    embeddings: list[Linear]  # what depends on x, each once
    which: list[int | None]  # of these is in a layer
    entanglers: list[Constant | None]  # Gᵀ before each layer; the first is not used
    back: Constant  # from z to ψ


@cache
def _plan(circuit: Circuit) -> _Plan:
    n = circuit.qubits
    found = layers(primitives(circuit), n, longest=1)
    angles = [[c[0].angles[0] if c else Angle() for c in layer.chains] for layer in found]  # type: ignore[union-attr]
    of_x = [tuple(Angle(features=a.features) for a in layer) for layer in angles]
    fixed = [Angle(a.constant, parameters=a.parameters) for layer in angles for a in layer]
    different = [turns for turns in dict.fromkeys(of_x) if any(a.features for a in turns)]
    frequencies, matrices = _frequencies(n), {(): None}
    for layer in found:
        if layer.entanglers not in matrices:
            matrices[layer.entanglers] = Constant(_entangler(n, permutation(n, layer.entanglers)[1]))
    mix = np.kron(np.eye(len(found)), frequencies)
    return _Plan(
        turns=Linear(fixed, circuit.features, circuit.parameters, mix),
        embeddings=[
            Linear(turns, circuit.features, circuit.parameters, frequencies) for turns in different
        ],
        which=[different.index(turns) if turns in different else None for turns in of_x],
        entanglers=[None, *(matrices[layer.entanglers] for layer in found[:-1])],
        # all amplitudes of |0…0⟩ are 2^-((n-1)/2) here: the way back takes this factor in
        back=Constant(_basis(n) * 2 ** (-(n - 1) / 2)),
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


def _entangler(qubits: int, signs: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the transpose of G, a diagonal between (Re z, Im z), shape ``(2^n, 2^n)``."""
    basis = _basis(qubits)
    return basis @ (signs[:, None] * basis.T)
