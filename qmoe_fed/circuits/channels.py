"""Single-qubit noise as real 4×4 Pauli transfer matrices.

A state is its coefficients r_P = Tr(ρP) for P = I, X, Y, Z. A channel Λ multiplies them by the
matrix R_PQ = ½ Tr(P Λ(Q)) (Greenbaum, "Introduction to quantum gate set tomography", 2015).
Strengths are tensors of any shape, or numbers; the matrices have that shape and two more axes.
"""

from collections.abc import Callable
from copy import copy
from dataclasses import dataclass

import torch
from torch import Tensor

from qmoe_fed.errors import UserError, unknown


def depolarizing(p: Tensor) -> Tensor:
    """Return the channel that applies X, Y or Z with probability p/3 each.

    ⟨Z⟩ shrinks by 1 - 4p/3, so p = 3/4 forgets the state. This is PennyLane's convention; Qiskit's
    λ shrinks ⟨Z⟩ by 1 - λ, so p = 3λ/4 (see ``depolarizing_from_qiskit``).
    """
    shrink = 1 - 4 * p / 3
    return _transfer(shrink, shrink, shrink)


def amplitude_damping(gamma: Tensor) -> Tensor:
    """Return the channel by which state 1 decays to state 0 with probability γ."""
    return _transfer((1 - gamma).sqrt(), (1 - gamma).sqrt(), 1 - gamma, gamma)


def phase_damping(gamma: Tensor) -> Tensor:
    """Return the channel that shrinks coherences by √(1 - γ) and keeps populations."""
    return _transfer((1 - gamma).sqrt(), (1 - gamma).sqrt(), torch.ones_like(gamma))


def bit_flip(p: Tensor) -> Tensor:
    """Return the channel that applies X with probability p."""
    return _transfer(torch.ones_like(p), 1 - 2 * p, 1 - 2 * p)


CHANNELS: dict[str, Callable[[Tensor], Tensor]] = {
    "depolarizing": depolarizing,
    "amplitude-damping": amplitude_damping,
    "phase-damping": phase_damping,
    "bit-flip": bit_flip,
}

PLACEMENTS = ("gate", "notebook")


def depolarizing_from_qiskit(strength: float) -> float:
    """Return PennyLane's depolarizing probability p = 3λ/4 for Qiskit's single-qubit λ."""
    return 3 * strength / 4


def depolarizing_to_qiskit(p: float) -> float:
    """Return Qiskit's single-qubit λ = 4p/3 for PennyLane's depolarizing probability."""
    return 4 * p / 3


@dataclass(frozen=True)
class Noise:
    """Where a circuit is noisy, and how much.

    Attributes:
        channel: A name in ``CHANNELS``.
        strength: The channel's parameter, in [0, 1]. A tensor's dimensions broadcast against the
            leading dimensions of x and θ, so that many strengths are one call.
        placement: ``gate``: after every gate, embedding included, on each wire it acts on (a Rot
            is one gate, a CZ or CNOT has two wires). ``notebook``: on every wire once after each
            embedding and once at the end, as in the notebooks of the authors of the method.
        readout_error: Probability in [0, 1] that a measured bit is read wrongly; a number or a
            tensor like ``strength``.

    Raises:
        UserError: A name is unknown or a probability is not in [0, 1].
    """

    channel: str
    strength: float | Tensor
    placement: str = "gate"
    readout_error: float | Tensor = 0.0

    def __post_init__(self) -> None:
        if self.channel not in CHANNELS:
            raise unknown("noise channel", self.channel, CHANNELS)
        if self.placement not in PLACEMENTS:
            raise unknown("noise placement", self.placement, PLACEMENTS)
        for name in ("strength", "readout_error"):
            values = torch.as_tensor(getattr(self, name))
            if not bool(((values >= 0) & (values <= 1)).all()):
                raise UserError(f"noise {name} = {getattr(self, name)!r}: must be in [0, 1]")

    def matrix(self, like: Tensor) -> Tensor:
        """Return the channel's transfer matrices, shape ``(*strength.shape, 4, 4)``.

        Args:
            like: A tensor whose dtype and device the result has.
        """
        strength = torch.as_tensor(self.strength, dtype=like.dtype, device=like.device)
        return CHANNELS[self.channel](strength)

    def at(self, strength: Tensor, readout_error: Tensor) -> "Noise":
        """Return the same kind of noise at other strengths, which are not checked.

        For code that runs within ``torch.func.vmap``, where values cannot be looked at.
        """
        other = copy(self)
        object.__setattr__(other, "strength", strength)
        object.__setattr__(other, "readout_error", readout_error)
        return other


def _transfer(x: Tensor, y: Tensor, z: Tensor, shift: Tensor | None = None) -> Tensor:
    """Return diag(1, x, y, z), with ``shift`` added to Z for every I."""
    matrix = torch.diag_embed(torch.stack([torch.ones_like(x), x, y, z], -1))
    if shift is None:
        return matrix
    unit = torch.zeros(4, 4, dtype=x.dtype, device=x.device)
    unit[3, 0] = 1
    return matrix + shift[..., None, None] * unit
