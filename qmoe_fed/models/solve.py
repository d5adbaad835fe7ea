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
a solution W has shape ``(..., N, C, D + 1)``, the last input being the constant 1. Inside, samples
come last: sums over experts then run along whole rows.
"""

import math

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

CENTRE = math.pi / 2
"""Middle of the range of an angle; centred angles are x − π/2."""

FLOOR = 1e-12
"""Least λ as a share of the trace of ΦᵀΦ: below it, float64 cannot tell the solution from others.

As λ → 0 the solution is the one of least squares that lies nearest to the prior.
"""

LARGE = 2**16
"""Numbers in Φ from which a product of its own for each replica is faster than all in one."""


def targets(y: Tensor, classes: int) -> Tensor:
    """Return the centred class indicators [class = c] − 1/C, ``(..., M, C)``, float32."""
    numbers = torch.arange(classes, device=y.device).unsqueeze(-1)
    return ((numbers == y.unsqueeze(-2)).float() - 1 / classes).mT  # samples last in memory


def solve(
    routing: Tensor,
    x: Tensor,
    y: Tensor,
    mask: Tensor,
    ridge: Tensor,
    prior: Tensor | None = None,
) -> Tensor:
    """Return the experts W, ``(..., N, C, D + 1)``, float64.

    Solves the primal (N(D + 1) unknowns) or the dual (M unknowns), whichever is smaller, in
    float64; derivatives are in the precision of the routing. Finite
    for finite arguments; without samples W is the prior.

    Args:
        routing: P(expert i | x), ``(..., M, N)``.
        x: Centred inputs of the experts, ``(..., M, D)``.
        y: Targets, ``(..., M, C)``, as ``targets`` returns them.
        mask: Weight of each sample, non-negative, ``(..., M)``; booleans will do.
        ridge: λ ≥ 0, ``(...)``.
        prior: W₀, ``(..., N, C, D + 1)``; None for zero.
    """
    kind = routing.dtype
    wide, root = _wide(x.to(kind)), mask.to(kind).sqrt().unsqueeze(-2)
    share, goal = root * _samples_last(routing), root * _samples_last(y.to(kind))
    if prior is not None:
        goal = goal - _answers(share, wide, prior.to(kind))
    solver = _primal if share.shape[-2] * wide.shape[-2] <= wide.shape[-1] else _dual
    change = solver(share, wide, goal, ridge[..., None, None, None])
    return change if prior is None else prior + change


def answer(routing: Tensor, x: Tensor, solution: Tensor) -> Tensor:
    """Return φ(x)W, ``(..., M, C)``, in the precision of the routing; see ``solve``."""
    kind = routing.dtype
    return _answers(_samples_last(routing), _wide(x.to(kind)), solution.to(kind)).mT


def to_experts(solution: Tensor, scale: Tensor, centre: float = CENTRE) -> tuple[Tensor, Tensor]:
    """Return the weight ``(..., N, C, D)`` and bias ``(..., N, C)`` of linear experts, float32.

    A mixture with them gives the class scores s·φ(x − centre)W for inputs x that are not centred.

    Args:
        solution: W, ``(..., N, C, D + 1)``.
        scale: s, ``(...)``.
        centre: What was subtracted from the inputs.
    """
    scaled = scale[..., None, None, None] * solution
    weight, bias = scaled[..., :-1], scaled[..., -1]
    return weight.float(), (bias - centre * weight.sum(-1)).float()


def _primal(share: Tensor, wide: Tensor, goal: Tensor, ridge: Tensor) -> Tensor:
    """Return W for features ``√m P`` ``(..., N, M)`` and ``[x, 1]`` ``(..., D + 1, M)``.

    Neither Φ nor Cholesky's factor is differentiated: at the solution W = W + A⁻¹(Φᵀ(Y − ΦW) − λW),
    and with W and A on the right held fixed that has the derivatives of the solution.
    """
    fixed, inputs, right = (v.detach().double() for v in (share, wide, goal))
    phi = (fixed.unsqueeze(-2) * inputs.unsqueeze(-3)).flatten(-3, -2)
    factor, ridge = _factor(_gram(phi), ridge)

    def inverse(columns: Tensor) -> Tensor:
        flat = torch.cholesky_solve(columns, factor)
        return flat.mT.unflatten(-1, (share.shape[-2], wide.shape[-2])).transpose(-3, -2)

    found = inverse(phi @ right.mT)
    if not torch.is_grad_enabled():
        return found
    residual = goal - _answers(share, wide, found.to(share.dtype))
    left = _moments(share, wide, residual) - ridge * found
    slack = inverse(left.transpose(-3, -2).flatten(-2).mT)
    return found + (slack - slack.detach())


def _dual(share: Tensor, wide: Tensor, goal: Tensor, ridge: Tensor) -> Tensor:
    """Return what ``_primal`` does, as Φᵀα with (ΦΦᵀ + λI)α = Y; differentiated as there."""
    fixed, inputs, right = (v.detach().double() for v in (share, wide, goal))
    factor, ridge = _factor((fixed.mT @ fixed) * (inputs.mT @ inputs), ridge)
    found = torch.cholesky_solve(right.mT, factor).mT
    if not torch.is_grad_enabled():
        return _moments(fixed, inputs, found)
    near = found.to(share.dtype)
    residual = goal - _answers(share, wide, _moments(share, wide, near)) - ridge.squeeze(-1) * found
    slack = torch.cholesky_solve(residual.mT, factor).mT
    step = _moments(share, wide, near + (slack - slack.detach()).to(share.dtype))
    return _moments(fixed, inputs, found) + (step - step.detach())


def _gram(phi: Tensor) -> Tensor:
    """Return ΦᵀΦ for Φᵀ ``(..., U, M)``."""
    if phi.device.type != "cpu" or phi.shape[-2:].numel() < LARGE:
        return phi @ phi.mT
    gram = torch.empty(*phi.shape[:-1], phi.shape[-2], dtype=phi.dtype)
    each = phi.reshape(-1, *phi.shape[-2:]).numpy()
    for place, one in zip(gram.numpy().reshape(-1, *gram.shape[-2:]), each, strict=True):
        np.matmul(one, one.T, out=place)  # numpy sees that A Aᵀ is symmetric: half of the work
    return gram


def _factor(gram: Tensor, ridge: Tensor) -> tuple[Tensor, Tensor]:
    """Return Cholesky's factor of G + λI, and λ ``(..., 1, 1, 1)``, not below what float64 needs.

    Of what is not finite there is no factor, and no error that would stop the other replicas.
    """
    trace = gram.diagonal(dim1=-2, dim2=-1).sum(-1)
    ridge = ridge.double() + FLOOR * trace[..., None, None, None]
    shift = ridge.detach()[..., 0, 0].expand(gram.shape[:-1])
    return torch.linalg.cholesky_ex(gram + torch.diag_embed(shift)).L, ridge


def _samples_last(values: Tensor) -> Tensor:
    """Return ``(..., M, F)`` as ``(..., F, M)``, laid out like that in memory."""
    return values.mT.contiguous()


def _wide(x: Tensor) -> Tensor:
    """Return [x, 1] with samples last, ``(..., D + 1, M)``."""
    return pad(_samples_last(x), (0, 0, 0, 1), value=1.0)


def _answers(share: Tensor, wide: Tensor, solution: Tensor) -> Tensor:
    """Return ΦW, ``(..., C, M)``, without Φ."""
    outputs = solution.flatten(-3, -2) @ wide
    return (share.unsqueeze(-2) * outputs.unflatten(-2, solution.shape[-3:-1])).sum(-3)


def _moments(share: Tensor, wide: Tensor, values: Tensor) -> Tensor:
    """Return Φᵀv for v ``(..., C, M)``, in the shape of a solution, without Φ."""
    spread = share.unsqueeze(-2) * values.unsqueeze(-3)
    return (spread.flatten(-3, -2) @ wide.mT).unflatten(-2, spread.shape[-3:-1])
