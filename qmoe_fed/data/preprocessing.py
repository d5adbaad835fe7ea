"""From raw features to angles, and to what experts see: affine maps that the server knows first."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qmoe_fed.config import DataConfig, call, load_object
from qmoe_fed.errors import UserError

Array = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Projection:
    """Projects D raw features on d directions and scales each to an angle in [0, π].

    What lies outside the bounds is clipped, not wrapped: the nearest angle stands for it. Two
    projections are equal when all their numbers are.

    Attributes:
        mean: Shape ``(D,)``, float32.
        components: Shape ``(D, d)``, float32.
        low: Becomes angle 0, shape ``(d,)``, float32.
        high: Becomes angle π, shape ``(d,)``, float32.
        gain: What the experts see of x − mean: nothing but the angles, shape ``(0,)``; each raw
            feature times a number, ``(1,)`` or ``(D,)``; E directions, ``(D, E)``; float32.
    """

    mean: Array
    components: Array
    low: Array
    high: Array
    gain: Array = field(default_factory=lambda: np.zeros(0, np.float32))

    def angles(self, x: NDArray[Any]) -> Array:
        """Return the angles of raw features ``(..., D)``, shape ``(..., d)``, in [0, π]."""
        # centring and scaling folded into one product: no copy of x as large as x
        half_turn = np.float32(np.pi)
        gain = half_turn / (self.high - self.low)
        offset = (self.mean @ self.components + self.low) * gain
        position = np.asarray(x, np.float32) @ (self.components * gain) - offset
        return np.clip(position, 0, half_turn)

    def inputs(self, x: NDArray[Any]) -> Array:
        """Return what a mixture gets of raw features ``(..., D)``: angles, then inputs of experts.

        Shape ``(..., d)`` where experts see the angles, else ``(..., d + E)``.
        """
        angles = self.angles(x)
        if not self.gain.size:
            return angles
        centred = np.asarray(x, np.float32) - self.mean
        seen = centred @ self.gain if self.gain.ndim == 2 else centred * self.gain
        return np.concatenate([angles, seen], -1)

    def to_dict(self) -> dict[str, Array]:
        """Return the arrays by name, as they travel to clients."""
        return {item.name: getattr(self, item.name) for item in fields(self)}

    @classmethod
    def from_dict(cls, arrays: Mapping[str, ArrayLike]) -> Self:
        """Build a projection from what ``to_dict`` returned."""
        return cls(**{name: np.asarray(array, np.float32) for name, array in arrays.items()})

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Projection) and self._bytes() == other._bytes()

    def __hash__(self) -> int:
        return hash(self._bytes())

    def _bytes(self) -> bytes:
        return b"".join(array.tobytes() for array in self.to_dict().values())


class _Raw(Projection):
    """Leaves raw features ``(..., D)`` as they are, but for their type: float32."""

    def inputs(self, x: NDArray[Any]) -> Array:
        return np.asarray(x, np.float32)

    angles = inputs


RAW = _Raw(*[np.zeros(0, np.float32)] * 4)
"""In place of a projection, where samples are wanted as they are in the dataset."""


def scaling(low: NDArray[Any], high: NDArray[Any]) -> Projection:
    """Return the projection that keeps the features and scales ``[low, high]`` to [0, π]."""
    size = len(low)
    return Projection(
        np.zeros(size, np.float32),
        np.eye(size, dtype=np.float32),
        np.asarray(low, np.float32),
        np.asarray(high, np.float32),
    )


def fit_angles(
    x: NDArray[Any], features: int, angles: str, expert_features: int | str = "router"
) -> Projection:
    """Fit what turns samples ``(n, D)`` into so many angles, by its name.

    ``bounds``: each feature is an angle, from its least to its largest value. ``standardised``:
    the same from -3 to 3 standard deviations about the mean, or ``pca`` of the features divided by
    their deviations where D is more than ``features``. ``auto``: ``bounds``, or ``pca`` where D is
    more. An import path: a user's function ``(x, features) -> Projection``.

    Raises:
        UserError: D does not go with the number of angles, or the function returns something else.
    """
    size = x.shape[1]
    if ":" in angles:
        made = call(f"angles {angles!r}", load_object(angles, "angles"), x, features)
        if not isinstance(made, Projection) or made.components.shape != (size, features):
            raise UserError(f"angles = {angles!r}: expected a Projection of {(size, features)}")
        return made
    deviation = x.std(0)
    scale = 1 / np.where(deviation > 0, deviation, 1)
    if angles == "pca" or (size > features and angles in ("auto", "standardised")):
        return principal_components(
            x, features, expert_features, scale if angles == "standardised" else 1.0
        )
    if size != features:
        raise UserError(
            f"angles = {angles!r}: samples have {size} raw features and the router {features} "
            f"angles; set features = {size}, with as many qubits, or angles = 'pca'"
        )
    low, high, mean = x.min(0), x.max(0), x.mean(0)
    if angles == "standardised":
        low, high = mean - 3 * deviation, mean + 3 * deviation
    high = np.where(high > low, high, low + 1)  # where all are the same
    gain = np.zeros(0, np.float32)
    if expert_features == "router":  # bounds are those of the features themselves
        mean = np.zeros(size)
    else:
        gain = principal_components(x, 1, expert_features).gain
    parts = mean, np.eye(size), low - mean, high - mean, gain
    return Projection(*(part.astype(np.float32) for part in parts))


def principal_components(
    x: NDArray[Any],
    features: int,
    expert_features: int | str = "router",
    scale: NDArray[Any] | float = 1.0,
) -> Projection:
    """Fit so many principal components to samples ``(n, D)``, bounded by the range of these.

    Args:
        x: The samples.
        features: Number d of components that become angles.
        expert_features: What experts see: ``router``, the angles; ``all`` raw features as they
            are, ``standardised`` (each divided by its deviation), or a number of components; all
            of them in one common scale, in which samples are √2 long on average.
        scale: What each feature is multiplied by first, ``(D,)``.

    Raises:
        UserError: The samples vary in fewer directions than are asked for.
    """
    mean = x.mean(0)
    _, spread, rows = np.linalg.svd((x - mean) * scale, full_matrices=False)
    directions = int((spread > 1e-6 * max(spread[0], 1e-6)).sum())
    wanted = {"features": features, "expert-features": expert_features}
    for name, count in wanted.items():
        if not isinstance(count, str) and count > directions:
            raise UserError(
                f"{name} = {count}: the {len(x)} public samples of {x.shape[1]} raw features vary "
                f"in only {directions} directions; ask for fewer features (or qubits) or more "
                "public-samples"
            )
    gain = _gain(x - mean, expert_features, rows * scale)
    rows = rows[:features]
    # a direction's sign is arbitrary; fix it by its largest entry, as scikit-learn does
    largest = np.take_along_axis(rows, np.abs(rows).argmax(1)[:, None], 1)
    components = (rows * np.sign(largest) * scale).T
    position = (x - mean) @ components
    return Projection(
        mean.astype(np.float32),
        components.astype(np.float32),
        position.min(0).astype(np.float32),
        position.max(0).astype(np.float32),
        gain.astype(np.float32),
    )


def _gain(centred: NDArray[Any], expert_features: int | str, rows: NDArray[Any]) -> NDArray[Any]:
    """Return what experts see of centred samples ``(n, D)`` with principal directions ``rows``."""
    if expert_features == "router":
        return np.zeros(0)
    if expert_features == "all":
        gain, seen = np.ones(1), centred
    elif expert_features == "standardised":
        deviation = centred.std(0)
        gain = np.where(deviation > 0, 1 / np.where(deviation > 0, deviation, 1), 0)
        seen = centred * gain
    else:
        gain = rows[: int(expert_features)].T
        seen = centred @ gain
    return gain * np.sqrt(2 / max((seen**2).sum(1).mean(), 1e-12))


def not_raw(x: Array, projection: Projection, data: DataConfig) -> str:
    """Return what shows that inputs ``(B, D)`` are none of the dataset, if anything does."""
    if not np.isfinite(x).all():
        return "is not finite"
    low, high = x.min(initial=0), x.max(initial=0)
    if data.own:
        return ""
    if data.dataset != "moons":
        return "has been divided: no pixel is above 1" if 0 < high <= 1 else ""
    outside = ((x < projection.low) | (x > projection.high)).any(-1).mean()
    angles = len(x) >= 8 and low >= 0 and high <= np.float32(np.pi) and outside > 0.25
    return "seems to hold angles: all lie in [0, π], many where no data are" if angles else ""
