"""Constants that engines prepare once per circuit, and angles as linear maps of x and θ."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qmoe_fed.circuits.circuit import Circuit
from qmoe_fed.circuits.operations import Angle

Made = TypeVar("Made")


def outside(make: Callable[[], Made]) -> Made:
    """Return what a function makes on another thread, out of reach of torch.func's transforms.

    These are per thread, and would hold on to tensors that are to be kept.
    """
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(make).result()


class Constant:
    """An array that comes as a tensor of the precision and on the device of another one."""

    def __init__(self, values: NDArray[np.generic]) -> None:
        self.values = np.ascontiguousarray(values)
        self.made: dict[tuple[torch.dtype, torch.device], Tensor] = {}

    def __call__(self, like: Tensor) -> Tensor:
        """Return it for a real tensor or a complex one; it is itself real, complex or whole."""
        key = like.dtype, like.device
        if key not in self.made:
            self.made[key] = outside(lambda: self._make(*key))
        return self.made[key]

    def _make(self, dtype: torch.dtype, device: torch.device) -> Tensor:
        tensor = torch.from_numpy(self.values)
        if np.issubdtype(self.values.dtype, np.inexact):
            real = dtype if dtype.is_floating_point else dtype.to_real()
            tensor = tensor.to(real.to_complex() if tensor.is_complex() else real)
        return tensor.to(device)


class Linear:
    """m linear combinations of 1, features and parameters.

    Args:
        angles: The combinations.
        circuit: Says how many features and parameters there are.
        mix: Matrix ``(len(angles), m)`` that mixes the angles into what is returned.
    """

    def __init__(
        self, angles: Sequence[Angle], circuit: Circuit, mix: NDArray[np.float64] | None = None
    ) -> None:
        of_x = np.zeros((circuit.features, len(angles)))
        of_theta = np.zeros((circuit.parameters, len(angles)))
        constant = np.array([angle.constant for angle in angles])
        for column, angle in enumerate(angles):
            for j, factor in angle.features:
                of_x[j, column] = factor
            for k, factor in angle.parameters:
                of_theta[k, column] = factor
        mixed = [part if mix is None else part @ mix for part in (of_x, of_theta, constant)]
        self.x, self.theta, self.constant = (Constant(m) if m.any() else None for m in mixed)
        self.zeros = Constant(np.zeros_like(mixed[2]))
        self.of_x = self.x is not None

    def __call__(self, x: Tensor, theta: Tensor) -> Tensor:
        """Return the combinations, ``(..., B, m)``, or ``(..., m)`` if x is not in them.

        Args:
            x: Features, ``(..., B, features)``.
            theta: Parameters, ``(..., P)``.
        """
        total = None if self.theta is None else theta @ self.theta(x)
        if self.x is not None:
            embedded = x @ self.x(x)
            if total is None:
                total = embedded
            else:
                total = embedded + (total if total.dim() == 1 else total.unsqueeze(-2))
        if self.constant is not None:
            constant = self.constant(x)
            total = constant if total is None else total + constant
        return self.zeros(x) if total is None else total


def waves(angles: Tensor) -> Tensor:
    """Return (cos, sin) of angles: ``(..., F)`` → ``(..., 2F)``."""
    return torch.cat([angles.cos(), angles.sin()], -1)
