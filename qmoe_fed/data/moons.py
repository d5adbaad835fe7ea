"""Two Moons, drawn for any number of clients at once.

The same distribution as scikit-learn's ``make_moons``, but each sample's class and its place on
the arc are drawn at random (scikit-learn spaces the places evenly), so that clients differ.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import betaincinv

from qmoe_fed import rng
from qmoe_fed.config import Config
from qmoe_fed.data.preprocessing import Projection, scaling
from qmoe_fed.data.samples import Samples

CENTRE = np.array([0.5, 0.25])
"""Centre of symmetry of the two arcs."""

_SHIFT = np.complex64(complex(*CENTRE))
_HALF_WIDTH = np.array([1.5, 0.75])
_RADIUS = np.hypot(1.5, 0.25)  # of the farthest points, the outer tips of the arcs
_MARGIN = 3.0  # standard deviations of the noise kept inside the bounds
_BLOCK = 256  # clients drawn at a time: their intermediate arrays fit the processor's cache


def bounds(config: Config) -> Projection:
    """Return the box that holds the moons, turned by any angle if clients turn them, as angles.

    It depends on settings only, so nothing is learnt from any client's samples.
    """
    turned = config.data.partition == "rotation"
    reach = (np.full(2, _RADIUS) if turned else _HALF_WIDTH) + _MARGIN * config.data.noise
    return scaling(CENTRE - reach, CENTRE + reach)


def draw(
    config: Config, clients: NDArray[np.int64], projection: Projection, split: str, count: int
) -> Samples:
    """Draw ``count`` samples for each client; the splits ``train`` and ``test`` independently."""
    size = len(clients)
    x, y = np.empty((size, count, 2), np.float32), np.empty((size, count), np.int64)
    for start in range(0, size, _BLOCK):
        rows = slice(start, start + _BLOCK)
        points, y[rows] = _points(config, clients[rows], split, count)
        x[rows] = projection.angles(points)
    return Samples(torch.from_numpy(x), torch.from_numpy(y), torch.full((size,), count))


def _points(
    config: Config, clients: NDArray[np.int64], split: str, count: int
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Return points ``(K, count, 2)`` and whether each lies on the lower moon ``(K, count)``."""
    seed, data = config.federation.seed, config.data

    def uniform(purpose: str) -> NDArray[np.float64]:
        return rng.uniform(seed, f"moons/{split}/{purpose}", clients, (count,))

    # points are complex numbers, relative to the centre until the end
    lower = uniform("class") < _proportion(config, clients)
    points = _unit(np.pi * uniform("place")) - _SHIFT
    points *= np.where(lower, np.float32(-1), np.float32(1))  # half a turn about the centre
    # isotropic Gaussian noise: Rayleigh distributed length, uniform direction
    length = data.noise * np.sqrt(-2 * np.log(1 - uniform("noise/length")))
    points += length.astype(np.float32) * _unit(2 * np.pi * uniform("noise/direction"))
    if data.partition == "rotation":
        points *= _unit(2 * np.pi * rng.uniform(seed, "moons/turn", clients, (1,)))
    points += _SHIFT
    return points.view(np.float32).reshape(*points.shape, 2), lower


def _unit(angle: NDArray[np.float64]) -> NDArray[np.complex64]:
    """Return exp(i·angle)."""
    z = np.empty(angle.shape, np.complex64)
    single = angle.astype(np.float32)
    z.real, z.imag = np.cos(single), np.sin(single)
    return z


def _proportion(config: Config, clients: NDArray[np.int64]) -> NDArray[np.float64] | float:
    """Return each client's probability of the lower moon, shape ``(K, 1)``.

    With two classes Dirichlet(α) is Beta(α, α), drawn through its inverse distribution function.
    """
    if config.data.partition != "dirichlet":
        return 0.5
    alpha = config.data.dirichlet_alpha
    u = rng.uniform(config.federation.seed, "moons/proportion", clients, (1,))
    return betaincinv(alpha, alpha, u)
