"""Linear experts in closed form: a ridge regression, given the router.

With the routing weights P(expert i | x) of a sample and its inputs x (centred: zero in the middle
of their range), the features are φ(x) = P(expert i | x)·[x, 1], so that φ(x)W is what a mixture of
linear experts answers. The experts of a client are

    W = argmin ‖√m (ΦW − Y)‖² + λ‖W − W₀‖²

with Y the centred class indicators, m the weight of each sample (0: not there) and W₀ a prior, or
zero. The solution is differentiable in all its arguments (once), which trains a router *through*
it: a closed-form base learner in the sense of Bertinetto et al. ("Meta-learning with
differentiable closed-form solvers", 2019), variable projection (Golub & Pereyra, 1973).

Leading dimensions are independent replicas. N experts, D inputs of an expert, C classes, M samples;
a solution W has shape ``(..., N, D + 1, C)``, the last input being the constant 1.
"""

import math

import torch
from torch import Tensor
from torch.nn.functional import one_hot, pad

CENTRE = math.pi / 2
"""Middle of the range of an angle; centred angles are x − π/2."""

FLOOR = 1e-12
"""Least λ as a share of the trace of ΦᵀΦ: below it, float64 cannot tell the solution from others.

As λ → 0 the solution is the one of least squares that lies nearest to the prior.
"""


def targets(y: Tensor, classes: int) -> Tensor:
    """Return the centred class indicators [class = c] − 1/C, ``(..., M, C)``, float64."""
    return one_hot(y, classes).double() - 1 / classes


def solve(
    routing: Tensor,
    x: Tensor,
    y: Tensor,
    mask: Tensor,
    ridge: Tensor,
    prior: Tensor | None = None,
) -> Tensor:
    """Return the experts W, ``(..., N, D + 1, C)``, float64.

    Solves the primal (N(D + 1) unknowns) or the dual (M unknowns), whichever is smaller. Always
    finite for finite arguments: without samples W is the prior.

    Args:
        routing: P(expert i | x), ``(..., M, N)``.
        x: Centred inputs of the experts, ``(..., M, D)``.
        y: Targets, ``(..., M, C)``, as ``targets`` returns them.
        mask: Weight of each sample, non-negative, ``(..., M)``; booleans will do.
        ridge: λ > 0, ``(...)``.
        prior: W₀, ``(..., N, D + 1, C)``; None for zero.
    """
    experts, features = routing.shape[-1], x.shape[-1] + 1
    wide = pad(x.double(), (0, 1), value=1.0)
    root = mask.to(wide).sqrt().unsqueeze(-1)
    share = root * routing.double()
    goal = y if prior is None else y - answer(routing, x, prior)
    if experts * features <= x.shape[-2]:
        phi = (share.unsqueeze(-1) * wide.unsqueeze(-2)).flatten(-2)
        flat = _regularised_solve(phi.mT @ phi, phi.mT @ (root * goal), ridge)
        change = flat.unflatten(-2, (experts, features))
    else:
        kernel = (share @ share.mT) * (wide @ wide.mT)
        dual = _regularised_solve(kernel, root * goal, ridge)
        change = _from_dual(share, wide, dual)
    return change if prior is None else prior + change


def answer(routing: Tensor, x: Tensor, solution: Tensor) -> Tensor:
    """Return φ(x)W, ``(..., M, C)``, float64, with arguments as for ``solve``."""
    experts, features, classes = solution.shape[-3:]
    by_input = solution.transpose(-3, -2).flatten(-2)  # (..., D + 1, N·C)
    slopes, bias = by_input.split((features - 1, 1), -2)
    outputs = (x.double() @ slopes.double() + bias).unflatten(-1, (experts, classes))
    return (routing.double().unsqueeze(-2) @ outputs).squeeze(-2)


def to_experts(solution: Tensor, scale: Tensor, centre: float = CENTRE) -> tuple[Tensor, Tensor]:
    """Return the weight ``(..., N, C, D)`` and bias ``(..., N, C)`` of linear experts, float32.

    A mixture with them gives the class scores s·φ(x − centre)W for inputs x that are not centred.

    Args:
        solution: W, ``(..., N, D + 1, C)``.
        scale: s, ``(...)``.
        centre: What was subtracted from the inputs.
    """
    scaled = scale[..., None, None, None] * solution
    weight, bias = scaled[..., :-1, :].mT, scaled[..., -1, :]
    return weight.float(), (bias - centre * weight.sum(-1)).float()


def _regularised_solve(gram: Tensor, right: Tensor, ridge: Tensor) -> Tensor:
    """Return (G + λI)⁻¹ b, float64, for G ``(..., F, F)`` and b ``(..., F, C)``.

    The factor is not differentiated: one step of refinement against it, which is differentiated,
    has the derivatives of the solution and spares those of Cholesky's.
    """
    trace = gram.detach().diagonal(dim1=-2, dim2=-1).sum(-1)
    strength = ridge.to(gram) + FLOOR * trace
    matrix = gram + torch.diag_embed(strength.unsqueeze(-1).expand(gram.shape[:-1]))
    factor = torch.linalg.cholesky_ex(matrix.detach()).L
    found = torch.cholesky_solve(right.detach(), factor)
    return found + torch.cholesky_solve(right - matrix @ found, factor)


def _from_dual(share: Tensor, wide: Tensor, dual: Tensor) -> Tensor:
    """Return W = Φᵀα, without Φ: ``(..., N, D + 1, C)``."""
    experts, classes = share.shape[-1], dual.shape[-1]
    spread = (share.unsqueeze(-1) * dual.unsqueeze(-2)).flatten(-2)  # (..., M, N·C)
    return (wide.mT @ spread).unflatten(-1, (experts, classes)).transpose(-3, -2)
