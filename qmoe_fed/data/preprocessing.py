"""From raw features to angles: one affine map, known to the server before any client takes part."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

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
    """

    mean: Array
    components: Array
    low: Array
    high: Array

    def angles(self, x: NDArray[Any]) -> Array:
        """Return the angles of raw features ``(..., D)``, shape ``(..., d)``, in [0, π]."""
        # centring and scaling folded into one product: no copy of x as large as x
        half_turn = np.float32(np.pi)
        gain = half_turn / (self.high - self.low)
        offset = (self.mean @ self.components + self.low) * gain
        position = np.asarray(x, np.float32) @ (self.components * gain) - offset
        return np.clip(position, 0, half_turn)

    def to_dict(self) -> dict[str, Array]:
        """Return the arrays by name, as they travel to clients."""
        return {item.name: getattr(self, item.name) for item in fields(self)}

    @classmethod
    def from_dict(cls, arrays: Mapping[str, ArrayLike]) -> Self:
        """Build a projection from what ``to_dict`` returned."""
        return cls(**{item.name: np.asarray(arrays[item.name], np.float32) for item in fields(cls)})

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Projection) and self._bytes() == other._bytes()

    def __hash__(self) -> int:
        return hash(self._bytes())

    def _bytes(self) -> bytes:
        return b"".join(array.tobytes() for array in self.to_dict().values())


def scaling(low: NDArray[Any], high: NDArray[Any]) -> Projection:
    """Return the projection that keeps the features and scales ``[low, high]`` to [0, π]."""
    size = len(low)
    return Projection(
        np.zeros(size, np.float32),
        np.eye(size, dtype=np.float32),
        np.asarray(low, np.float32),
        np.asarray(high, np.float32),
    )


def principal_components(x: NDArray[Any], features: int) -> Projection:
    """Fit so many principal components to samples ``(n, D)``, bounded by the range of these.

    Raises:
        UserError: The samples vary in fewer than d directions.
    """
    mean = x.mean(0)
    _, spread, rows = np.linalg.svd(x - mean, full_matrices=False)
    directions = int((spread > 1e-6 * max(spread[0], 1e-6)).sum())
    if features > directions:
        raise UserError(
            f"features = {features}: the {len(x)} public samples of {x.shape[1]} raw features vary "
            f"in only {directions} directions; ask for fewer features (or qubits) or more "
            "public-samples"
        )
    rows = rows[:features]
    # a direction's sign is arbitrary; fix it by its largest entry, as scikit-learn does
    largest = np.take_along_axis(rows, np.abs(rows).argmax(1)[:, None], 1)
    components = (rows * np.sign(largest)).T
    position = (x - mean) @ components
    return Projection(
        mean.astype(np.float32),
        components.astype(np.float32),
        position.min(0).astype(np.float32),
        position.max(0).astype(np.float32),
    )
