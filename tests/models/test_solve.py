"""Experts in closed form equal the normal equations, slow descent, and each other's forms."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.func import vmap

from qmoe_fed.models import LinearExperts, Mixture
from qmoe_fed.models.solve import CENTRE, answer, solve, targets, to_experts

PRIMAL, DUAL = (30, 3, 2, 2), (5, 3, 4, 3)
"""Samples, experts, features, classes: more samples than unknowns, and fewer."""

LARGE = (2000, 4, 8, 3)
"""So many numbers in Φ that each replica has a matrix product of its own."""


def problem(shape, seed=0, leading=()):
    samples, experts, features, classes = shape
    generator = torch.Generator().manual_seed(seed)

    def draw(*size):
        return torch.rand(*leading, *size, generator=generator, dtype=torch.float64)

    routing = (3 * draw(samples, experts)).softmax(-1)
    x = (2 * draw(samples, features) - 1) * CENTRE
    y = targets((draw(samples) * classes).long(), classes).double()
    return routing, x, y, torch.ones(*leading, samples, dtype=torch.float64)


def some_prior(shape, seed=1, leading=()):
    _, experts, features, classes = shape
    generator = torch.Generator().manual_seed(seed)
    size = (*leading, experts, classes, features + 1)
    return torch.randn(size, generator=generator, dtype=torch.float64)


def features_of(routing, x):
    wide = torch.cat([x, torch.ones_like(x[..., :1])], -1)
    return torch.einsum("mn,md->mnd", routing, wide).flatten(1)


def flat(solution):
    return solution.mT.flatten(0, 1)


def shaped(matrix, like):
    return matrix.view(like.mT.shape).mT


def normal_equations(routing, x, y, weights, ridge, prior):
    """The oracle: W = W₀ + (ΦᵀmΦ + λI)⁻¹ Φᵀm(Y − ΦW₀), by a general solver."""
    phi, start = features_of(routing, x), flat(prior)
    left = phi.T @ (weights[:, None] * phi) + ridge * torch.eye(phi.shape[1], dtype=phi.dtype)
    change = torch.linalg.solve(left, phi.T @ (weights[:, None] * (y - phi @ start)))
    return shaped(start + change, prior)


@pytest.mark.parametrize("shape", [PRIMAL, LARGE, DUAL])
@pytest.mark.parametrize("ridge", [1e-3, 0.5, 20.0])
def test_the_solution_is_that_of_the_normal_equations(shape, ridge):
    routing, x, y, weights = problem(shape)
    weights = torch.linspace(0, 2, len(weights), dtype=torch.float64)
    prior = some_prior(shape)
    found = solve(routing, x, y, weights, torch.tensor(ridge), prior)
    expected = normal_equations(routing, x, y, weights, ridge, prior)
    torch.testing.assert_close(found, expected, rtol=1e-7, atol=1e-7)
    without = solve(routing, x, y, weights, torch.tensor(ridge))
    expected = normal_equations(routing, x, y, weights, ridge, torch.zeros_like(prior))
    torch.testing.assert_close(without, expected, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("shape", [PRIMAL, DUAL])
def test_the_solution_is_where_gradient_descent_ends(shape):
    routing, x, y, _ = problem(shape)
    prior, ridge = some_prior(shape), 0.3
    experts = prior.clone().requires_grad_()
    rate = 1 / float(torch.linalg.matrix_norm(features_of(routing, x), 2) ** 2 + ridge)
    for _ in range(1500):
        objective = (answer(routing, x, experts) - y).square().sum()
        objective = objective + ridge * (experts - prior).square().sum()
        (gradient,) = torch.autograd.grad(objective, experts)
        experts = (experts - rate / 2 * gradient).detach().requires_grad_()
    found = solve(routing, x, y, torch.ones(len(x)), torch.tensor(ridge), prior)
    torch.testing.assert_close(found, experts.detach(), rtol=0, atol=1e-6)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 12), st.integers(1, 4), st.integers(1, 3), st.integers(0, 99))
def test_primal_and_dual_agree(samples, experts, features, seed):
    shape = (samples, experts, features, 2)
    routing, x, y, weights = problem(shape, seed)
    prior, ridge = some_prior(shape, seed), torch.tensor(0.1)
    unknowns = experts * (features + 1)
    padded = [torch.cat([v, torch.zeros(unknowns, *v.shape[1:])]) for v in (routing, x, y, weights)]
    primal, other = solve(*padded, ridge, prior), solve(routing, x, y, weights, ridge, prior)
    torch.testing.assert_close(primal, other, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("shape", [(8, 2, 1, 2), (3, 2, 2, 2)])
def test_gradients_through_the_solve_equal_finite_differences(shape):
    routing, x, y, weights = problem(shape)
    ridge = torch.tensor(0.4, dtype=torch.float64)
    inputs = [v.requires_grad_() for v in (routing, x, y, weights + 0.5, ridge, some_prior(shape))]
    assert torch.autograd.gradcheck(solve, inputs)


@pytest.mark.parametrize("shape", [PRIMAL, DUAL])
def test_replicas_side_by_side_equal_a_loop(shape):
    routing, x, y, weights = problem(shape, leading=(4,))
    weights[0, 2:], weights[1] = 0, 0
    ridge, prior = torch.tensor([0.1, 1.0, 3.0, 10.0]), some_prior(shape, leading=(4,))
    batched = solve(routing, x, y, weights, ridge, prior)
    mapped = vmap(solve)(routing, x, y, weights, ridge, prior)
    loop = [solve(routing[k], x[k], y[k], weights[k], ridge[k], prior[k]) for k in range(4)]
    torch.testing.assert_close(batched, torch.stack(loop), rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(mapped, torch.stack(loop), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("shape", [PRIMAL, DUAL])
def test_a_strong_ridge_gives_the_prior_and_none_gives_least_squares(shape):
    routing, x, y, weights = problem(shape)
    prior = some_prior(shape)
    strong = solve(routing, x, y, weights, torch.tensor(1e12), prior)
    torch.testing.assert_close(strong, prior, rtol=0, atol=1e-9)
    phi = features_of(routing, x)
    for start in (prior, torch.zeros_like(prior)):
        weak = solve(routing, x, y, weights, torch.tensor(0.0), start)
        nearest = torch.linalg.pinv(phi) @ (y - phi @ flat(start))
        expected = start + shaped(nearest, start)
        torch.testing.assert_close(weak, expected, rtol=0, atol=1e-6)


def test_without_samples_the_solution_is_the_prior():
    for shape in (PRIMAL, DUAL, (0, 3, 2, 2)):
        routing, x, y, weights = problem(shape)
        prior = some_prior(shape)
        none = torch.zeros_like(weights)
        torch.testing.assert_close(solve(routing, x, y, none, torch.tensor(1.0), prior), prior)
        assert solve(routing, x, y, none, torch.tensor(1.0)).eq(0).all()


def test_one_sample_moves_towards_its_class():
    routing, x, y, weights = problem((1, 2, 2, 3))
    found = solve(routing, x, y, weights, torch.tensor(1e-9))
    torch.testing.assert_close(answer(routing, x, found), y, rtol=0, atol=1e-6)


@pytest.mark.parametrize("ridge", [0.0, 1e-12, 1.0, 1e12])
@pytest.mark.parametrize("samples", [3, 40])
def test_duplicates_missing_classes_and_rank_one_stay_finite(samples, ridge):
    one_expert = torch.zeros(samples, 4, dtype=torch.float64)
    one_expert[:, 0] = 1
    x = torch.full((samples, 2), 0.7, dtype=torch.float64)
    y = targets(torch.zeros(samples, dtype=torch.int64), 3).double()
    strength = torch.tensor(ridge, requires_grad=True)
    found = solve(one_expert.requires_grad_(), x, y, torch.ones(samples), strength)
    found.square().sum().backward()
    for values in (found, one_expert.grad, strength.grad):
        assert values.isfinite().all()
    if ridge <= 1e-12:
        torch.testing.assert_close(answer(one_expert, x, found), y, rtol=0, atol=1e-4)


def test_duplicate_samples_are_samples_of_twice_the_weight():
    routing, x, y, weights = problem(PRIMAL)
    twice = solve(*(torch.cat([v, v]) for v in (routing, x, y, weights)), torch.tensor(0.2))
    torch.testing.assert_close(twice, solve(routing, x, y, 2 * weights, torch.tensor(0.2)))


@pytest.mark.parametrize("shape", [PRIMAL, DUAL])
def test_float32_costs_only_its_own_rounding(shape):
    routing, x, y, weights = (v.float() for v in problem(shape))
    prior = some_prior(shape).float()
    for ridge in (1e-6, 1e-2, 1.0):
        strength = torch.tensor(ridge)
        values, gradients = [], []
        for kind in (torch.float32, torch.float64):
            share = routing.to(kind).requires_grad_()
            found = solve(share, x, y, weights, strength, prior)
            assert found.dtype == torch.float64
            values.append(found.detach())
            gradients.append(torch.autograd.grad(found.sin().sum(), share)[0].double())
        torch.testing.assert_close(values[0], values[1], rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-3, atol=1e-3)


def test_solved_experts_are_those_of_a_mixture():
    routing, x, y, weights = problem(PRIMAL)
    found = solve(routing, x, y, weights, torch.tensor(0.1))
    experts = LinearExperts(2, 2, 3)
    weight, bias = to_experts(found, torch.tensor(5.0))
    experts.weight.data, experts.bias.data = weight, bias

    class Given(torch.nn.Module):
        def forward(self, _):
            return routing.float()

    scores = Mixture(Given(), experts)((x + math.pi / 2).float())
    expected = 5 * answer(routing, x, found).float()
    torch.testing.assert_close(scores, expected, rtol=0, atol=1e-4)
