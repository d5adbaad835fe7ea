"""K independent replicas of one module, run as one tensor program or one after another.

Parameters of K replicas are a dict of tensors with a leading dimension K, or, where they are
optimised, one matrix ``(K, P)`` with a row per replica.
"""

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from qmoe_fed.models import Parameters


def apply(model: nn.Module, parameters: Parameters, x: Tensor, execution: str = "vmap") -> Tensor:
    """Return the outputs of K replicas on their own inputs, ``(K, M, C)``.

    Args:
        model: A module for one replica; its own parameters are not used.
        parameters: All its parameters, ``(K, *shape)`` each.
        x: Shape ``(K, M, d)``.
        execution: ``vmap``, or ``serial`` for a plain loop (the oracle, and the only way for
            modules that torch cannot vectorise).
    """
    if execution == "serial":
        rows = [functional_call(model, row_of(parameters, k), x[k]) for k in range(len(x))]
        return torch.stack(rows)
    return vmap(lambda p, inputs: functional_call(model, p, inputs))(parameters, x)


def row_of(parameters: Parameters, k: int) -> Parameters:
    """Return the parameters of replica k."""
    return {name: values[k] for name, values in parameters.items()}


def rows_of(parameters: Parameters, rows: slice | Tensor) -> Parameters:
    """Return the parameters of some replicas."""
    return {name: values[rows] for name, values in parameters.items()}


def expand(parameters: Parameters, replicas: int) -> Parameters:
    """Return K copies (views) of the parameters of one replica."""
    return {name: v.expand(replicas, *v.shape) for name, v in parameters.items()}


def choose(chosen: Tensor, first: Parameters, second: Parameters) -> Parameters:
    """Return the replicas of ``first`` where ``chosen`` ``(K,)`` is true, of ``second`` elsewhere.

    The first as they are if all are chosen.
    """
    if bool(chosen.all()):
        return first
    return {
        name: torch.where(chosen.view(-1, *[1] * (values.dim() - 1)), values, second[name])
        for name, values in first.items()
    }


def join(parts: Iterable[Parameters]) -> Parameters:
    """Concatenate the replicas of several parameter sets."""
    parts = list(parts)
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def ravel(parameters: Parameters, replicas: int) -> Tensor:
    """Return parameters ``(K, *shape)`` as one matrix ``(K, P)``."""
    flat = [values.reshape(replicas, -1) for values in parameters.values()]
    return torch.cat(flat, 1) if flat else torch.zeros(replicas, 0)


def unravel(matrix: Tensor, like: Parameters) -> Parameters:
    """Return the matrix ``(K, P)`` as parameters shaped like ``like``; the inverse of ravel."""
    sizes = [math.prod(values.shape[1:]) for values in like.values()]
    parts = matrix.split(sizes, 1)
    return {
        name: part.reshape(len(matrix), *values.shape[1:])
        for (name, values), part in zip(like.items(), parts, strict=True)
    }
