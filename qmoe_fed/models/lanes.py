"""What ``answer`` makes of ``solve``, for many replicas with few samples each: in lanes.

Libraries of linear algebra take small matrices one by one, and torch's loops are as short as their
rows. Here a replica is a place in the last dimension, and each operation runs along all of them.
Terms are added one by one: in which order torch's own sums add depends on where a replica lies.

Shapes: share of each expert ``(N, M, K)``, inputs ``(D + 1, M, K)``, the last of them 1, answers
``(C, M, K)``, a solution ``(N, C, D + 1, K)``, a system ``(M + C, M, K)``: right sides come last.
"""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import pad

from qmoe_fed.models.solve import FLOOR, answer, solve

MOST_NUMBERS = 128
"""Numbers in Φ, up to which lanes are faster for two thousand replicas and not slower for fifty."""


def fitted(
    routing: Tensor, x: Tensor, y: Tensor, mask: Tensor, ridge: Tensor, prior: Tensor | None = None
) -> Tensor:
    """Return ``answer(routing, x, solve(...))`` of K replicas, ``(K, C, M)``.

    In lanes where samples are fewer than unknowns, and few. Arguments are those of ``solve`` with
    one leading dimension; the mask is of booleans. Differentiable in routing, λ and prior, and in x
    as ``solve`` is.
    """
    samples, unknowns = x.shape[1], routing.shape[2] * (x.shape[2] + 1)
    few = samples <= unknowns and samples * unknowns <= MOST_NUMBERS
    if x.requires_grad or x.device.type != "cpu" or not few:
        return answer(routing, x, solve(routing, x, y, mask, ridge, prior)).mT
    kind = routing.dtype
    wide = pad(x.to(kind).permute(2, 1, 0), (0, 0, 0, 0, 0, 1), value=1.0)
    start = None if prior is None else prior.to(kind)
    answers: Tensor = _Fitted.apply(routing, wide, y.to(kind), mask.to(kind), ridge, start)
    return answers


class _Fitted(torch.autograd.Function):
    """Answers ``(K, C, M)`` of experts W₀ + W, where W = Φᵀα and (ΦΦᵀ + λI)α = Y − ΦW₀.

    With G the gradient of W, (ΦΦᵀ + λI)β = ΦG and Z = G − Φᵀβ, which is that of W₀, the gradient of
    Φ is αZᵀ − β(W₀ + W)ᵀ, and that of λ −⟨α, β⟩.
    """

    @staticmethod
    def forward(
        ctx: Any,
        routing: Tensor,
        wide: Tensor,
        y: Tensor,
        mask: Tensor,
        ridge: Tensor,
        prior: Tensor | None,
    ) -> Tensor:
        share, mask = _lanes(routing), mask.T.contiguous()
        own, goal = share * mask, _lanes(y) * mask
        start = None if prior is None else prior.permute(1, 2, 3, 0).contiguous()
        if start is not None:
            goal = goal - _mixed(own, _outputs(start, wide))
        exact, inputs = own.double(), wide.double()
        system, inverse = _eliminated(exact, inputs, goal.double(), ridge)
        alpha = _backwards(system, system[len(mask) :].clone())
        solution = _moments(exact, inputs, alpha).to(share.dtype)
        outputs = _outputs(solution if start is None else start + solution, wide)
        ctx.save_for_backward(share, own, wide, mask, ridge, system, inverse, alpha, outputs)
        return _mixed(share, outputs).permute(2, 0, 1).contiguous()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        share, own, wide, mask, ridge, system, inverse, alpha, outputs = ctx.saved_tensors
        gradient = gradient.permute(1, 2, 0).contiguous()
        of_solution = _moments(share, wide, gradient)
        right = _mixed(own, _outputs(of_solution, wide)).double()
        for j in range(len(inverse) - 1):
            below = system[j + 1 : len(inverse), j]
            right[:, j + 1 :].addcmul_(below, right[:, j : j + 1], value=-1)
        beta = _backwards(system, right.mul_(inverse))
        of_ridge = -_dot(zip(alpha.flatten(0, 1), beta.flatten(0, 1), strict=True))
        alpha, beta = alpha.to(share.dtype), beta.to(share.dtype)
        of_prior = of_solution - _moments(own, wide, beta)
        of_own = _dot(zip(alpha, _outputs(of_prior, wide).unbind(1), strict=True))
        of_own -= _dot(zip(beta, outputs.unbind(1), strict=True))
        of_share = _dot(zip(gradient, outputs.unbind(1), strict=True)).addcmul_(of_own, mask)
        of_routing = of_share.permute(2, 1, 0).contiguous()
        given = of_prior.permute(3, 0, 1, 2) if ctx.needs_input_grad[5] else None
        return of_routing, None, None, None, of_ridge.to(ridge.dtype), given


def _lanes(values: Tensor) -> Tensor:
    """Return ``(K, M, F)`` as ``(F, M, K)``, laid out like that in memory."""
    return values.permute(2, 1, 0).contiguous()


def _dot(pairs: Iterable[tuple[Tensor, Tensor]], out: Tensor | None = None) -> Tensor:
    """Return Σ aᵢbᵢ, in order; the first product has the shape of the result."""
    (first, second), *others = pairs
    total = torch.mul(first, second, out=out)
    for one, other in others:
        total.addcmul_(one, other)
    return total


def _outputs(solution: Tensor, wide: Tensor) -> Tensor:
    """Return what each expert answers, ``(N, C, M, K)``."""
    return _dot(zip(solution.unsqueeze(-2).unbind(2), wide, strict=True))


def _mixed(share: Tensor, outputs: Tensor) -> Tensor:
    """Return ΦW of what each expert answers."""
    return _dot(zip(share.unsqueeze(1), outputs, strict=True))


def _moments(share: Tensor, wide: Tensor, values: Tensor) -> Tensor:
    """Return Φᵀv, in the shape of a solution."""
    spread = (share.unsqueeze(1) * values).unsqueeze(2)
    return _dot(zip(spread.unbind(3), wide.unbind(1), strict=True))


def _eliminated(share: Tensor, wide: Tensor, goal: Tensor, ridge: Tensor) -> tuple[Tensor, Tensor]:
    """Return L of ΦΦᵀ + λI = LDLᵀ below the diagonal, D⁻¹L⁻¹Y below that, and D⁻¹ ``(M, K)``.

    λ is not below what float64 needs. On and above the diagonal are no numbers of use.
    """
    size = goal.shape[1]
    system = goal.new_empty(size + len(goal), *goal.shape[1:])
    gram, inverse = system[:size], goal.new_empty(goal.shape[1:])
    _dot(((row.unsqueeze(1), row) for row in share), gram)
    gram *= _dot((row.unsqueeze(1), row) for row in wide)
    system[size:] = goal
    diagonal = [gram[j, j] for j in range(size)]
    shift = ridge.double() + FLOOR * sum(diagonal)
    for entry in diagonal:
        entry.add_(shift)
    for j, entry in enumerate(diagonal):
        column = system[j + 1 :, j]
        scaled = column * torch.reciprocal(entry, out=inverse[j])
        system[j + 1 :, j + 1 :].addcmul_(scaled.unsqueeze(1), column[: size - j - 1], value=-1)
    return system.mul_(inverse), inverse


def _backwards(system: Tensor, right: Tensor) -> Tensor:
    """Put L⁻ᵀv in the place of v ``(C, M, K)``; return it."""
    for j in range(right.shape[1] - 1, 0, -1):
        right[:, :j].addcmul_(system[j, :j], right[:, j : j + 1], value=-1)
    return right
