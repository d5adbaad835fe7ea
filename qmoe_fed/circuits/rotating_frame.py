"""The state of a circuit of RY and CZ in the basis in which every RY is a phase.

All RY commute. In their common eigenbasis, the products of |±i⟩ = (|0⟩ ± i|1⟩)/√2, a layer
⊗RY(aⱼ) multiplies the amplitude of |s₁…sₙ⟩, sⱼ = ±1, by exp(-i Σ sⱼaⱼ/2). A real state has
conjugate amplitudes at s and -s, so the half with s₁ = +1 says everything: 2^(n-1) complex numbers
z, or as many real ones as there are basis states. CZ between layers become one constant
matrix G, the same for all samples and clients. A layer is then z ← (G z)·exp(iω(θ)), and embedding x
again costs one more factor exp(iω(x)), which is the same in every layer that embeds alike.

What follows the embedding is the same for every sample if x is not embedded again. For few qubits
it is then cheapest to multiply every layer out: the entries of its matrix are linear in cos ω(θ)
and sin ω(θ).
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qmoe_fed.circuits.circuit import Circuit
from qmoe_fed.circuits.kronecker import permutation
from qmoe_fed.circuits.operations import Angle, Gate, Operation
from qmoe_fed.circuits.schedule import in_chains, layers, only, primitives
from qmoe_fed.circuits.tables import Constant, Linear

MOST_QUBITS = 8
"""G is dense: beyond this, layer by layer Kronecker products are faster."""

MULTIPLIED_OUT = 4
"""Most qubits for which layers are multiplied out: the table for it has 8^n entries."""


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
    if can_multiply_out(circuit):
        return multiplied_out(circuit, x, theta)
    return by_phases(circuit, x, theta)


@cache
def can_multiply_out(circuit: Circuit) -> bool:
    """Return whether qubits are few and what follows the first layer is the same for all x."""
    _, *others = _layers(circuit)
    return circuit.qubits <= MULTIPLIED_OUT and not any(_angles(o, True) for o in others)


def by_phases(circuit: Circuit, x: Tensor, theta: Tensor) -> Tensor:
    """As ``amplitudes``, layer by layer on z."""
    plan = _phases(circuit)
    turns = phases(plan.turns(x, theta).unflatten(-1, (-1, 2 ** (circuit.qubits - 1))))
    embeddings = [phases(embedding(x, theta)) for embedding in plan.embeddings]
    z: Tensor | None = None
    for turn, which, entangler in zip(turns.unbind(-2), plan.which, plan.entanglers, strict=True):
        if z is not None:
            z = as_complex(as_real(z) @ entangler(x))
        factor = turn if which is None else turn * embeddings[which]
        z = factor if z is None else z * factor
    assert z is not None
    return as_real(z) @ plan.back(x)


def multiplied_out(circuit: Circuit, x: Tensor, theta: Tensor) -> Tensor:
    """As ``amplitudes``, with x in the first layer only: each layer one matrix on the real state."""
    plan = _table(circuit)
    psi = _waves(plan.embedding(x, theta)) @ plan.first(x)
    waves = _waves(plan.turns(x, theta).unflatten(-1, (-1, 2 ** (circuit.qubits - 1))))
    table = plan.table(x)  # one for all layers, or one for each
    flat = waves @ table if table.dim() == 2 else (waves.unsqueeze(-2) @ table).squeeze(-2)
    for layer in flat.squeeze(-3).unflatten(-1, (2**circuit.qubits, -1)).unbind(-3):
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


Turns = tuple[Angle, ...]


@cache
def _layers(circuit: Circuit) -> list[tuple[Turns, NDArray[np.float64]]]:
    """Return the angle of every qubit, and the signs of the CZ after it, for each layer."""
    n = circuit.qubits
    found = layers(primitives(circuit), n, in_chains)
    return [
        (tuple(_angle(chain) for chain in layer.chains), permutation(n, layer.rest)[1])
        for layer in found
    ]


def _angle(chain: tuple[Operation, ...]) -> Angle:
    return chain[0].angles[0] if chain and isinstance(chain[0], Gate) else Angle()


def _angles(layer: tuple[Turns, NDArray[np.float64]], of_x: bool) -> Turns:
    """Return what of the layer's angles depends on x, or the rest; empty if nothing does."""
    turns = tuple(
        Angle(features=a.features) if of_x else Angle(a.constant, parameters=a.parameters)
        for a in layer[0]
    )
    return () if of_x and not any(a.features for a in turns) else turns


def _linear(circuit: Circuit, turns: list[Turns]) -> Linear:
    """Return the phases ω of layers, ``len(turns)·2^(n-1)`` in a row."""
    mix = np.kron(np.eye(len(turns)), _frequencies(circuit.qubits))
    angles = [angle for layer in turns for angle in layer]
    return Linear(angles, circuit.features, circuit.parameters, mix)


@dataclass(frozen=True, eq=False)
class _Phases:
    turns: Linear  # what does not depend on x, of all layers
    embeddings: list[Linear]  # what depends on x, each once
    which: list[int | None]  # of these is in a layer
    entanglers: list[Constant]  # Gᵀ before each layer; the first is not used
    back: Constant  # from z to ψ


@cache
def _phases(circuit: Circuit) -> _Phases:
    found, n = _layers(circuit), circuit.qubits
    of_x = [_angles(layer, True) for layer in found]
    different = [turns for turns in dict.fromkeys(of_x) if turns]
    matrices = {signs.tobytes(): Constant(_entangler(n, signs)) for _, signs in found}
    return _Phases(
        turns=_linear(circuit, [_angles(layer, False) for layer in found]),
        embeddings=[_linear(circuit, [turns]) for turns in different],
        which=[different.index(turns) if turns else None for turns in of_x],
        entanglers=[matrices[signs.tobytes()] for _, signs in [found[-1], *found[:-1]]],
        # all amplitudes of |0…0⟩ are 2^-((n-1)/2) here: the way back takes this factor in
        back=Constant(_basis(n) * 2 ** (-(n - 1) / 2)),
    )


@dataclass(frozen=True, eq=False)
class _Table:
    embedding: Linear
    turns: Linear
    first: Constant
    table: Constant


@cache
def _table(circuit: Circuit) -> _Table:
    """Return what makes states and matrices of (cos ω, sin ω), ``(2^n,)``.

    Times ``first``, ``(2^n, 2^n)``, it is the embedded state; times ``table``, ``(2^n, 4^n)``, a
    layer as a matrix for row vectors, with the CZ before it. There are none before the first
    layer: ``first`` undoes them.
    """
    n, found = circuit.qubits, _layers(circuit)
    size, basis = 2**n, _basis(n)
    real, imaginary = basis[::2, :, None], basis[1::2, :, None]
    cosines = real * real.mT + imaginary * imaginary.mT
    sines = real * imaginary.mT - imaginary * real.mT
    maps = np.concatenate([cosines, sines])
    between = [signs for _, signs in found[:-1]] or [np.ones(size)]
    signs = [between[0], *between] if len(found) > 1 else between
    tables = [(s[:, None] * maps).reshape(size, -1) for s in signs]
    same = all((s == signs[0]).all() for s in signs)
    return _Table(
        embedding=_linear(circuit, [_angles(found[0], True) or (Angle(),) * n]),
        turns=_linear(circuit, [_angles(layer, False) for layer in found]),
        first=Constant(maps[:, 0] * signs[0]),
        table=Constant(tables[0] if same else np.stack(tables)),
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
