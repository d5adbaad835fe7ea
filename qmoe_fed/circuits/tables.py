"""Constants that engines prepare once per circuit, and angles as linear maps of x and θ."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qmoe_fed.circuits.operations import Angle

Made = TypeVar("Made")


def outside(make: Callable[[], Made]) -> Made:
    """Return what a function makes on another thread, out of reach of torch.func's transforms.

    These are per thread, and would hold on to tensors that are to be kept.
    """
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(make).result()


class Constant:
    """An array that comes as a tensor of the precision and on the device of another one.

    The array is kept, not the tensor: one made under torch.func.grad must not outlive it.
    """

    def __init__(self, values: NDArray[np.generic]) -> None:
        whole = not np.issubdtype(values.dtype, np.inexact)
        self.double = np.ascontiguousarray(values)
        small = np.complex64 if np.iscomplexobj(values) else np.float32
        self.single = self.double if whole else self.double.astype(small)

    def __call__(self, like: Tensor) -> Tensor:
        """Return it for a real tensor or a complex one; it is itself real or complex as it is."""
        single = like.dtype in (torch.float32, torch.complex64)
        return torch.from_numpy(self.single if single else self.double).to(like.device)


class Linear:
    """m linear combinations of 1, features and parameters.

    Args:
        angles: The combinations.
        features: Number of features of a circuit.
        parameters: Number of parameters of a circuit.
        mix: Matrix ``(len(angles), m)`` that mixes the angles into what is returned.
    """

    def __init__(
        self,
        angles: Sequence[Angle],
        features: int,
        parameters: int,
        mix: NDArray[np.float64] | None = None,
    ) -> None:
        of_x, of_theta = np.zeros((features, len(angles))), np.zeros((parameters, len(angles)))
        constant = np.array([[angle.constant for angle in angles]])
        for column, angle in enumerate(angles):
            for j, factor in angle.features:
                of_x[j, column] = factor
            for k, factor in angle.parameters:
                of_theta[k, column] = factor
        mixed = [part if mix is None else part @ mix for part in (of_x, of_theta, constant)]
        self.x, self.theta, self.constant = (Constant(m) if m.any() else None for m in mixed)
        self.zeros = Constant(np.zeros_like(mixed[2]))

    def __call__(self, x: Tensor, theta: Tensor) -> Tensor:
        """Return the combinations, ``(..., B, m)``, or ``(..., 1, m)`` if x is not in them.

        Args:
            x: Features, ``(..., B, features)``.
            theta: Parameters, ``(..., P)``.
        """
        terms = []
        if self.theta is not None:
            terms.append(theta.unsqueeze(-2) @ self.theta(x))
        if self.x is not None:
            terms.append(x @ self.x(x))
        if self.constant is not None:
            terms.append(self.constant(x))
        return sum(terms[1:], terms[0]) if terms else self.zeros(x)
