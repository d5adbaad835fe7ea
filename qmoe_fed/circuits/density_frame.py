"""Expectations under noise of few qubits: phases, and constant matrices between them.

In the Pauli basis, a rotation by a about an axis mixes the two other components, u and v, of a
qubit: u + iv is multiplied by exp(ia). So in the frame of an axis, the products of 1, the axis'
own component, u + iv and u - iv, rotations of all qubits multiply each coefficient by
exp(i Σ sⱼaⱼ), sⱼ = 0, 1 or -1. Coefficients with s and -s are conjugate; half of them, and those
without phase in pairs, are 4^n/2 complex numbers z. Channels, entanglers and the change to the
frame of the next rotations' axis are one constant matrix: z ← (z·exp(iω(θ))) M. This is
``rotating_frame`` for density matrices.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache, lru_cache, reduce
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qmoe_fed.circuits.channels import Noise
from qmoe_fed.circuits.circuit import Circuit
from qmoe_fed.circuits.program import Part, Step
from qmoe_fed.circuits.rotating_frame import as_complex, as_real, phases
from qmoe_fed.circuits.transfer import evolve, matrices

MOST_QUBITS = 4
"""Matrices have 16^n entries: beyond this, gate by gate is faster."""

MOST_QUBITS_AT_ANY_STRENGTH = 3
"""The same where strengths are tensors: the matrices are then made anew each time."""


def fits(part: Part, noise: Noise) -> bool:
    """Return whether this is the faster way."""
    fixed = not isinstance(noise.strength, Tensor)
    return len(part.qubits) <= (MOST_QUBITS if fixed else MOST_QUBITS_AT_ANY_STRENGTH)


def expectations(circuit: Circuit, part: Part, x: Tensor, theta: Tensor, noise: Noise) -> Tensor:
    """Return the expectations of a part's observables; shapes as ``pauli.expectations``."""
    frequencies, start, *maps, readout = _constants(circuit, part, noise, x)
    theta, states = theta.unsqueeze(-2), phases(x @ frequencies)
    z = states * as_complex(start)
    if circuit.reuploading or len(part.strings) > x.shape[-2]:
        turns = iter(phases(theta @ frequencies).unbind(-3))  # (..., 1, K)
        for matrix, step in zip(maps, part.steps[1:], strict=True):
            z = as_complex(as_real(z) @ matrix) * (states if step.embedding else next(turns))
        return as_real(z) @ readout.mT
    back = phases(theta @ -frequencies).unbind(-3)
    observables = readout
    for matrix, turn in zip(reversed(maps), reversed(back), strict=True):
        observables = as_real(as_complex(observables) * turn) @ matrix.mT
    return as_real(z) @ observables.mT


def _constants(circuit: Circuit, part: Part, noise: Noise, like: Tensor) -> Iterator[Tensor]:
    """Yield frequencies, the state before embedding, the maps, and the observables."""
    if isinstance(noise.strength, Tensor):
        return iter(_tables(circuit, part, noise, like))
    arrays = _kept(circuit, part, noise.channel, noise.strength, noise.placement, like.dtype)
    return (torch.from_numpy(array).to(like) for array in arrays)


@lru_cache(64)
def _kept(
    circuit: Circuit, part: Part, channel: str, strength: float, placement: str, dtype: torch.dtype
) -> list[NDArray[np.floating]]:
    # On another thread, since torch.func's transforms are per thread and would hold on to tensors.
    with ThreadPoolExecutor(1) as outside:
        like = torch.empty((), dtype=torch.float64)
        tables = outside.submit(_tables, circuit, part, Noise(channel, strength, placement), like)
        return [table.to(dtype).numpy() for table in tables.result()]


def _tables(circuit: Circuit, part: Part, noise: Noise, like: Tensor) -> list[Tensor]:
    n = len(part.qubits)
    channel, entangler = matrices(circuit, noise, like)

    def frame(axis: str) -> Tensor:
        return torch.from_numpy(_frame(axis, n)).to(like)

    def after(step: Step) -> Tensor:
        """Return what the rows of the step's frame become until the next rotation, as Pauli's."""
        wires = [(j,) for j in range(n) if step.noisy] + list(step.gates)
        gates = [(w, channel if len(w) == 1 else entangler) for w in wires]
        return evolve(frame(step.axis).unsqueeze(-3), gates).squeeze(-3)

    made: dict[tuple[Step, str], Tensor] = {}  # layers repeat
    maps = []
    for step, following in pairwise(part.steps):
        if (step, following.axis) not in made:
            made[step, following.axis] = after(step) @ frame(following.axis).mT
        maps.append(made[step, following.axis])
    observables = after(part.steps[-1])[..., list(part.strings)].mT.contiguous()
    zero = reduce(torch.kron, [like.new_tensor([1, 0, 0, 1])] * n)  # |0…0⟩
    start = frame(part.steps[0].axis) @ zero
    return [torch.from_numpy(_frequencies(n)).to(like), start, *maps, observables]


@cache
def _frequencies(qubits: int) -> NDArray[np.float64]:
    """Return s of every z, shape ``(n, 4^n / 2)``."""
    signs, moving = _signs(qubits)
    still = np.zeros((2 ** (qubits - 1), qubits))
    return np.concatenate([still, signs[moving]]).T.copy()


@cache
def _frame(axis: str, qubits: int) -> NDArray[np.float64]:
    """Return the real orthogonal matrix to (Re z₁, Im z₁, Re z₂, …), shape ``(4^n, 4^n)``."""
    own, u, v = {"x": (1, 2, 3), "y": (2, 3, 1), "z": (3, 1, 2)}[axis]
    one = np.zeros((4, 4), complex)
    one[0, 0] = one[1, own] = 1
    one[2, [u, v]] = np.array([1, 1j]) / np.sqrt(2)
    one[3] = one[2].conj()
    rows = reduce(np.kron, [one] * qubits)
    signs, moving = _signs(qubits)
    still = rows[~signs.any(1)].real
    half = np.sqrt(2) * rows[moving]
    return np.concatenate([still, np.stack([half.real, half.imag], 1).reshape(-1, 4**qubits)])


@cache
def _signs(qubits: int) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return s of every product, ``(4^n, n)``, and which have 1 as their first s but zeros."""
    digits = np.arange(4**qubits)[:, None] // 4 ** np.arange(qubits)[::-1] % 4
    signs = np.array([0.0, 0.0, 1.0, -1.0])[digits]
    return signs, signs @ 3.0 ** np.arange(qubits)[::-1] > 0
