"""What ``solve`` does, for many replicas whose matrices are small: in lanes, one per replica.

Libraries of linear algebra take such matrices one by one, and torch's loops are as short as their
rows. Here a replica is a place in the last dimension, so that each operation runs along all of
them: Cholesky's method column by column, sums term by term. Terms are added in a fixed order, as
torch's own sums depend on where in memory a replica lies. Derivatives are written out.

Shapes: share and answers ``(N, M, K)``, ``(C, M, K)``; inputs ``(D + 1, M, K)``, the last 1; a
solution ``(N, C, D + 1, K)``; a system of S equations and what stands on its right
``(S + C, S, K)``.
"""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from qmoe_fed.models.solve import FLOOR, answer, solve

MOST_NUMBERS = 128
"""Numbers in Φ, up to which lanes are faster for two thousand replicas and not slower for fifty."""


def fitted(
    routing: Tensor, x: Tensor, y: Tensor, mask: Tensor, ridge: Tensor, prior: Tensor | None = None
) -> Tensor:
    """Return ``answer(routing, x, solve(...))`` of K replicas, ``(K, C, M)``: by either way.

    Args:
        routing: As for ``solve``, with one leading dimension; so are all others.
        x: May be differentiated where matrices are large only, or on a GPU.
        y: Targets.
        mask: Which samples experts are solved on, ``(K, M)``.
        ridge: λ.
        prior: W₀, or None.
    """
    if x.requires_grad or x.device.type != "cpu" or not _small(routing, x):
        return answer(routing, x, solve(routing, x, y, mask, ridge, prior)).mT
    kind = routing.dtype
    wide = torch.ones(x.shape[2] + 1, x.shape[1], len(x), dtype=kind)
    wide[:-1] = x.permute(2, 1, 0)
    start = None if prior is None else prior.to(kind)
    answers: Tensor = _Fitted.apply(routing, wide, y.to(kind), mask.to(kind), ridge, start)
    return answers


def _small(routing: Tensor, x: Tensor) -> bool:
    return x.shape[1] * routing.shape[2] * (x.shape[2] + 1) <= MOST_NUMBERS


class _Fitted(torch.autograd.Function):
    """Answers ``(K, C, M)`` of experts W₀ + W; W is solved on the samples of a mask.

    With Z the solution of (ΦᵀΦ + λI)Z = dL/dW, a loss L changes by ⟨RZᵀ − ΦZ(W₀ + W)ᵀ, dΦ⟩ −
    ⟨Z, W⟩dλ + λ⟨Z, dW₀⟩, where Φ is of the mask's samples and R what is left of Y there. Where
    samples are fewer than unknowns, R = λα and ΦZ = β solve systems of their size, and λZ is
    dL/dW − Φᵀβ.
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
        right = goal if start is None else goal - _mixed(own, _outputs(start, wide))
        shares, inputs = own.double(), wide.double()
        ctx.primal = len(share) * len(wide) <= len(mask)
        system = (_primal if ctx.primal else _dual)(shares, inputs, right.double(), ridge)
        inverse = _eliminate(system)
        found = _backwards(system, system[len(inverse) :].clone())
        solution = _unflat(found, own, wide) if ctx.primal else _moments(shares, inputs, found)
        solution = solution.to(share.dtype)
        outputs = _outputs(solution if start is None else start + solution, wide)
        rest = goal - _mixed(own, outputs) if ctx.primal else found.to(share.dtype)
        ctx.save_for_backward(share, own, wide, mask, ridge, system, inverse, found, rest, outputs)
        return _mixed(share, outputs).permute(2, 0, 1).contiguous()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        share, own, wide, mask, ridge, system, inverse, found, rest, outputs = ctx.saved_tensors
        gradient = gradient.permute(1, 2, 0).contiguous()
        left = _moments(share, wide, gradient)
        right = (_flat(left) if ctx.primal else _mixed(own, _outputs(left, wide))).double()
        z = _solve(system, inverse, right)
        near = z.to(share.dtype)
        if ctx.primal:
            change = _outputs(_unflat(near, own, wide), wide)
            of_goal = _mixed(own, change)
            left = left - _moments(own, wide, of_goal) if ctx.needs_input_grad[5] else left
        else:
            of_goal, left = near, left - _moments(own, wide, near)
            change = _outputs(left, wide)
        of_own = _dot(zip(rest, change.unbind(1), strict=True))
        of_own -= _dot(zip(of_goal, outputs.unbind(1), strict=True))
        of_share = _dot(zip(gradient, outputs.unbind(1), strict=True)).addcmul_(of_own, mask)
        of_ridge = -_dot(zip(z.flatten(0, 1), found.flatten(0, 1), strict=True))
        of_routing = of_share.permute(2, 1, 0).contiguous()
        of_prior = left.permute(3, 0, 1, 2) if ctx.needs_input_grad[5] else None
        return of_routing, None, None, None, of_ridge.to(ridge.dtype), of_prior


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


def _mixed(share: Tensor, outputs: Tensor) -> Tensor:
    """Return ΦW, ``(C, M, K)``, of outputs ``(N, C, M, K)``."""
    return _dot(zip(share.unsqueeze(1), outputs, strict=True))


def _outputs(solution: Tensor, wide: Tensor) -> Tensor:
    """Return what each expert answers, ``(N, C, M, K)``."""
    return _dot(zip(solution.unsqueeze(-2).unbind(2), wide, strict=True))


def _moments(share: Tensor, wide: Tensor, values: Tensor) -> Tensor:
    """Return Φᵀv, in the shape of a solution, for v ``(C, M, K)``."""
    spread = (share.unsqueeze(1) * values).unsqueeze(2)
    return _dot(zip(spread.unbind(3), wide.unbind(1), strict=True))


def _flat(solution: Tensor) -> Tensor:
    """Return ``(C, U, K)`` of a solution."""
    return solution.transpose(0, 1).flatten(1, 2)


def _unflat(columns: Tensor, share: Tensor, wide: Tensor) -> Tensor:
    return columns.unflatten(1, (len(share), len(wide))).transpose(0, 1)


def _primal(share: Tensor, wide: Tensor, goal: Tensor, ridge: Tensor) -> Tensor:
    """Return the system of ΦᵀΦ + λI and ΦᵀY."""
    phi = (share.unsqueeze(1) * wide).flatten(0, 1)
    system = phi.new_empty(len(phi) + len(goal), len(phi), phi.shape[-1])
    _dot(((column.unsqueeze(1), column) for column in phi.unbind(1)), system[: len(phi)])
    system[len(phi) :] = _flat(_moments(share, wide, goal))
    return _shifted(system, ridge)


def _dual(share: Tensor, wide: Tensor, goal: Tensor, ridge: Tensor) -> Tensor:
    """Return the system of ΦΦᵀ + λI and Y."""
    system = goal.new_empty(sum(goal.shape[:2]), *goal.shape[1:])
    gram = system[: goal.shape[1]]
    _dot(((row.unsqueeze(1), row) for row in share), gram)
    gram *= _dot((row.unsqueeze(1), row) for row in wide)
    system[len(gram) :] = goal
    return _shifted(system, ridge)


def _shifted(system: Tensor, ridge: Tensor) -> Tensor:
    """Add λ to the diagonal, or what float64 needs; return the system."""
    diagonal = [system[i, i] for i in range(system.shape[1])]
    shift = ridge.double() + FLOOR * sum(diagonal)
    for entry in diagonal:
        entry.add_(shift)
    return system


def _eliminate(system: Tensor) -> Tensor:
    """Put L of LDLᵀ in the place of a matrix, and D⁻¹L⁻¹y in that of y below it.

    On and above the diagonal are no numbers of use. Returns D⁻¹, ``(S, K)``.
    """
    size = system.shape[1]
    inverse = torch.empty_like(system[0])
    for j in range(size):
        column = system[j + 1 :, j]
        scaled = column * torch.reciprocal(system[j, j], out=inverse[j])
        system[j + 1 :, j + 1 :].addcmul_(scaled.unsqueeze(1), column[: size - j - 1], value=-1)
    system *= inverse
    return inverse


def _solve(system: Tensor, inverse: Tensor, right: Tensor) -> Tensor:
    """Return the solution for y ``(C, S, K)``, which is lost, of what is eliminated."""
    for j in range(len(inverse) - 1):
        below = system[j + 1 : len(inverse), j]
        right[:, j + 1 :].addcmul_(below, right[:, j : j + 1], value=-1)
    return _backwards(system, right.mul_(inverse))


def _backwards(system: Tensor, right: Tensor) -> Tensor:
    """Put L⁻ᵀy in the place of y ``(C, S, K)``; return it."""
    for j in range(right.shape[1] - 1, 0, -1):
        right[:, :j].addcmul_(system[j, :j], right[:, j : j + 1], value=-1)
    return right
