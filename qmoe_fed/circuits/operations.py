"""What a circuit is made of: gates and channels on wires, and the angles that gates turn by."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qmoe_fed.errors import UserError, unknown

Terms = tuple[tuple[int, float], ...]
Matrix = tuple[tuple[complex, ...], ...]

GATES = {
    "RX": (1, 1),
    "RY": (1, 1),
    "RZ": (1, 1),
    "Rot": (1, 3),
    "H": (1, 0),
    "CZ": (2, 0),
    "CNOT": (2, 0),
    "SWAP": (2, 0),
    "CRX": (2, 1),
    "CRY": (2, 1),
    "CRZ": (2, 1),
}
"""Number of wires and of angles of each gate; those that are controlled name the control first."""

CHANNELS = ("depolarizing", "amplitude-damping", "phase-damping", "bit-flip")


@dataclass(frozen=True)
class Angle:
    """A linear combination of 1, features of x and parameters, in radians.

    Built from ``feature(j)`` and ``parameter(k)`` with ``+``, ``-`` and ``*`` by numbers.

    Attributes:
        constant: The number added.
        features: (j, coefficient) of each feature in it, ascending, none of them 0.
        parameters: The same for parameters.

    Raises:
        UserError: A number is not finite, or is negative where it counts something.
    """

    constant: float = 0.0
    features: Terms = ()
    parameters: Terms = ()

    def __post_init__(self) -> None:
        terms = self.features + self.parameters
        if not all(map(math.isfinite, (self.constant, *(factor for _, factor in terms)))):
            raise UserError(f"angle {self}: expected finite numbers")
        if any(number < 0 for number, _ in terms):
            raise UserError(f"angle {self}: features and parameters are numbered from 0")

    @property
    def of_x(self) -> "Angle":
        """What in it depends on features."""
        return Angle(features=self.features)

    @property
    def fixed(self) -> "Angle":
        """What in it does not."""
        return Angle(self.constant, parameters=self.parameters)

    def __add__(self, other: "Angle | float") -> "Angle":
        other = as_angle(other)
        return Angle(
            self.constant + other.constant,
            _sum(self.features, other.features),
            _sum(self.parameters, other.parameters),
        )

    def __mul__(self, factor: float) -> "Angle":
        both = self.features, self.parameters
        features, parameters = (_sum(tuple((i, c * factor) for i, c in terms)) for terms in both)
        return Angle(self.constant * factor, features, parameters)

    def __neg__(self) -> "Angle":
        return self * -1.0

    def __sub__(self, other: "Angle | float") -> "Angle":
        return self + -as_angle(other)

    def __rsub__(self, other: float) -> "Angle":
        return -self + other

    def __truediv__(self, divisor: float) -> "Angle":
        return self * (1 / divisor)

    __radd__, __rmul__ = __add__, __mul__


def feature(number: int) -> Angle:
    """Return the angle that is feature ``number`` of x, counted from 0."""
    return Angle(features=((number, 1.0),))


def parameter(number: int) -> Angle:
    """Return the angle that is parameter ``number`` of θ, counted from 0."""
    return Angle(parameters=((number, 1.0),))


def as_angle(value: Angle | float) -> Angle:
    """Return a number as an angle, and an angle as it is."""
    return value if isinstance(value, Angle) else Angle(float(value))


@dataclass(frozen=True)
class Gate:
    """A unitary on wires; made by ``gate``, ``unitary`` or ``amplitude_embedding``.

    ``angles`` are what it turns by, or the amplitudes of an embedding; ``matrix`` is of a unitary.
    """

    name: str
    wires: tuple[int, ...]
    angles: tuple[Angle, ...] = ()
    matrix: Matrix = ()


@dataclass(frozen=True)
class Slot:
    """A strength that is given when the circuit is run: entry ``number`` of ``strengths``."""

    number: int


@dataclass(frozen=True)
class Channel:
    """Noise on one wire; made by ``channel``. Its strength is in [0, 1], or a slot."""

    name: str
    wires: tuple[int, ...]
    strength: float | Slot


Operation = Gate | Channel


def gate(name: str, wires: int | tuple[int, ...], *angles: Angle | float) -> Gate:
    """Return a gate.

    Args:
        name: ``RX``, ``RY``, ``RZ``; ``Rot`` = RZ(ω) RY(θ) RZ(φ) for angles φ, θ, ω; ``H``,
            ``CZ``, ``CNOT``, ``SWAP``; ``CRX``, ``CRY``, ``CRZ``.
        wires: One qubit or two; of controlled gates the control comes first.
        angles: As many as the gate takes.

    Raises:
        UserError: There is no such gate, or it takes other wires or angles.
    """
    if name not in GATES:
        raise unknown("gate", name, GATES)
    on = (wires,) if isinstance(wires, int) else tuple(wires)
    size, turns = GATES[name]
    _check_wires(name, on, size)
    if len(angles) != turns:
        raise UserError(f"gate {name} on wires {on}: takes {turns} angles, got {len(angles)}")
    return Gate(name, on, tuple(map(as_angle, angles)))


def unitary(matrix: ArrayLike, *wires: int) -> Gate:
    """Return the gate of a constant matrix, 2^w × 2^w on w wires, the first one leading.

    Raises:
        UserError: The matrix is not unitary (to 1e-6), or does not fit the wires.
    """
    values = np.asarray(matrix, complex)
    _check_wires("unitary", wires, len(wires))
    if values.shape != (2 ** len(wires),) * 2:
        raise UserError(
            f"unitary on wires {wires}: expected a matrix of {2 ** len(wires)} rows and columns, "
            f"got shape {values.shape}"
        )
    if not np.abs(values @ values.conj().T - np.eye(len(values))).max() < 1e-6:
        raise UserError(f"unitary on wires {wires}: the matrix times its adjoint is not 1")
    return Gate("unitary", wires, matrix=tuple(map(tuple, values.tolist())))


def amplitude_embedding(*amplitudes: Angle | float, wires: tuple[int, ...]) -> Gate:
    """Return the preparation of a state with these amplitudes, divided by their norm.

    The wires must be in state 0, and the amplitudes of a sample not all zero.

    Args:
        amplitudes: Real, mostly features: 2^w, or fewer, and the rest is zero.
        wires: The w wires, the first one leading.

    Raises:
        UserError: There are more amplitudes than basis states, or none.
    """
    _check_wires("amplitude-embedding", wires, max(len(wires), 1))
    size = 2 ** len(wires)
    if not 1 <= len(amplitudes) <= size:
        raise UserError(
            f"{len(amplitudes)} amplitudes do not fit {len(wires)} qubits: 1 to {size} can be "
            "embedded"
        )
    padding = (Angle(),) * (size - len(amplitudes))
    return Gate("amplitude-embedding", tuple(wires), (*map(as_angle, amplitudes), *padding))


def channel(name: str, wire: int, strength: float | Slot) -> Channel:
    """Return noise on a wire.

    Args:
        name: ``depolarizing``, ``amplitude-damping``, ``phase-damping`` or ``bit-flip``.
        wire: The qubit.
        strength: In [0, 1], as PennyLane counts it; or a slot, given when the circuit is run.

    Raises:
        UserError: There is no such channel, or the strength is not in [0, 1].
    """
    if name not in CHANNELS:
        raise unknown("noise channel", name, CHANNELS)
    if not isinstance(strength, Slot) and not 0 <= strength <= 1:
        raise UserError(f"noise strength = {strength!r}: must be in [0, 1]")
    _check_wires(name, (wire,), 1)
    return Channel(name, (wire,), strength)


def fixed_matrix(operation: Gate) -> NDArray[np.complex128]:
    """Return the matrix of a gate without angles."""
    if operation.name == "unitary":
        return np.array(operation.matrix)
    return FIXED[operation.name].astype(complex)


FIXED: dict[str, NDArray[np.float64]] = {
    "H": np.array([[1, 1], [1, -1]]) / math.sqrt(2),
    "CZ": np.diag([1.0, 1, 1, -1]),
    "CNOT": np.eye(4)[[0, 1, 3, 2]],
    "SWAP": np.eye(4)[[0, 2, 1, 3]],
}


def _sum(*sums: Terms) -> Terms:
    total: dict[int, float] = {}
    for number, factor in (term for terms in sums for term in terms):
        total[number] = total.get(number, 0.0) + factor
    return tuple(sorted((number, factor) for number, factor in total.items() if factor))


def _check_wires(name: str, wires: tuple[int, ...], size: int) -> None:
    if len(wires) != size or len(set(wires)) < size or min(wires, default=-1) < 0:
        many = f"{size} different wires" if size > 1 else "1 wire"
        raise UserError(f"{name} on wires {wires}: acts on {many}, numbered from 0")
