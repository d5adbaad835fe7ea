"""The plane in which data of two features lie."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qmoe_fed.data import Projection
from qmoe_fed.results.figures.regions import Bounds, Floats
from qmoe_fed.results.load import Run


@dataclass(frozen=True)
class Plane:
    """The plane on which a projection maps raw inputs before it turns them into two angles.

    Attributes:
        projection: The projection.
        axes: What its two directions are called.
    """

    projection: Projection
    axes: tuple[str, str]

    @classmethod
    def of(cls, run: Run) -> "Plane":
        """Return the plane of a run whose data have two features."""
        plain = np.count_nonzero(run.projection.components) == 2  # each direction is a feature
        axes = ("x₁", "x₂") if plain else ("principal component 1", "principal component 2")
        return cls(run.projection, axes)

    @property
    def bounds(self) -> Bounds:
        """The part that becomes angles from 0 to π."""
        (left, bottom), (right, top) = self.projection.low, self.projection.high
        return float(left), float(right), float(bottom), float(top)

    def height(self, width: float) -> float:
        """Return how high that part is, if it is drawn so wide, but at most square."""
        left, right, bottom, top = self.bounds
        return width * min((top - bottom) / (right - left), 1.0)

    def points(self, angles: NDArray[np.float32]) -> Floats:
        """Return the points ``(B, 2)`` at angles ``(B, 2)``."""
        low, high = self.projection.low, self.projection.high
        return low + angles / np.float32(np.pi) * (high - low)

    def inputs(self, points: Floats) -> Floats:
        """Return raw inputs ``(B, D)`` that the projection maps to points ``(B, 2)``."""
        back: Floats = np.linalg.pinv(self.projection.components)
        return self.projection.mean + points @ back
