"""The loss through the solve: exact gradients, clients apart, and what a solved client is."""

import math

import pytest
import torch

from qmoe_fed.config import ModelConfig
from qmoe_fed.data import Samples
from qmoe_fed.learning import evaluate, solving
from qmoe_fed.learning.replicas import apply
from qmoe_fed.learning.routing import routing_weights
from qmoe_fed.learning.solving import PRIOR, RIDGE, SCALE, SLOPE, Solve
from qmoe_fed.models import build_model, initial_parameters
from qmoe_fed.models.solve import CENTRE, answer, solve, targets

COUNTS = [7, 20, 0, 1, 12]
FIT, WITH_PRIOR = Solve(4, 2, 3), Solve(4, 2, 3, prior=True)


def some_samples(counts=COUNTS, features=2, classes=3):
    generator = torch.Generator().manual_seed(0)
    counts = torch.tensor(counts)
    mask = torch.arange(int(counts.max())) < counts[:, None]
    x = torch.rand(*mask.shape, features, generator=generator) * math.pi
    y = torch.randint(classes, mask.shape, generator=generator)
    return Samples(x * mask[..., None], y * mask, counts)


def some_parameters(model, clients, prior=True):
    router = initial_parameters(lambda: model, 1, range(clients))
    parameters = {name: values for name, values in router.items() if name.startswith("router.")}
    parameters |= fit_of(prior).initial(clients)
    generator = torch.Generator().manual_seed(1)
    for name in (RIDGE, SLOPE, SCALE, *([PRIOR] if prior else [])):
        noise = torch.randn(parameters[name].shape, generator=generator)
        parameters[name] = parameters[name] + 0.3 * noise
    return parameters


def fit_of(prior):
    return WITH_PRIOR if prior else FIT


def some_model(**settings):
    return build_model(ModelConfig(**settings), 2, 3)


def loss_of(model, parameters, samples, draws, execution="vmap"):
    return fit_of(PRIOR in parameters).loss(model, parameters, samples, draws, execution)


def gradients(model, parameters, samples, draws, execution="vmap"):
    free = {name: values.clone().requires_grad_() for name, values in parameters.items()}
    loss = loss_of(model, free, samples, draws, execution)
    return loss, torch.autograd.grad(loss.sum(), list(free.values()))


@pytest.mark.parametrize("count", [1, 2, 3, 8, 33])
def test_support_and_query_part_the_samples(count):
    active = torch.arange(40) < torch.full((1001, 1), count)
    support = FIT.support(active, torch.linspace(0, 1 - 2**-24, 1001))
    sizes = support.sum(1)
    assert not (support & ~active).any()
    assert int(sizes.min()) == math.floor(count / 8)
    assert int(sizes.max()) == math.ceil(3 / 4 * count) - 1  # the largest draw is below 1
    none = WITH_PRIOR.support(active, torch.zeros(1001))
    assert not none.any()


def test_the_loss_is_the_cross_entropy_of_the_query():
    model, samples = some_model(), some_samples()
    parameters, draws = some_parameters(model, 5), torch.full((5,), 0.6)
    loss = loss_of(model, parameters, samples, draws)
    for k, count in enumerate(COUNTS):
        size = math.floor(3 / 4 * 0.6 * count)
        own = {name: values[k : k + 1] for name, values in parameters.items()}
        routing = routing_weights(model, own, samples.x[k : k + 1])[0].double()
        x, y = samples.x[k].double() - CENTRE, samples.y[k]
        ridge = (own[RIDGE] + own[SLOPE] * math.log(max(size, 1) / 8)).exp().double()
        found = solve(
            routing[:size],
            x[:size],
            targets(y[:size], 3),
            torch.ones(size),
            ridge[0],
            own[PRIOR][0].double(),
        )
        query = slice(size, count)
        scores = own[SCALE][0].exp().double() * answer(routing[query], x[query], found)
        expected = torch.nn.functional.cross_entropy(scores, y[query]) if count else 0 * loss[k]
        torch.testing.assert_close(loss[k].double(), expected.double(), rtol=1e-5, atol=1e-6)


def test_gradients_equal_finite_differences():
    model, samples = some_model(router="mlp", hidden_width=3), some_samples([9, 5])
    parameters = {n: p.double() for n, p in some_parameters(model, 2).items()}
    samples, draws = (
        Samples(samples.x.double(), samples.y, samples.counts),
        torch.tensor([0.9, 0.3]),
    )
    names = list(parameters)

    def loss(*values):
        return loss_of(model, dict(zip(names, values, strict=True)), samples, draws)

    assert torch.autograd.gradcheck(loss, [p.requires_grad_() for p in parameters.values()])


@pytest.mark.parametrize("settings", [{}, {"router": "trig"}, {"top_k": 2}])
@pytest.mark.parametrize("prior", [False, True])
def test_a_client_does_not_depend_on_the_others(settings, prior):
    model, samples = some_model(**settings), some_samples()
    parameters = some_parameters(model, 5, prior)
    draws = torch.linspace(0, 0.99, 5)
    loss, gradient = gradients(model, parameters, samples, draws)
    assert all(values.isfinite().all() for values in gradient)
    for k in range(5):
        own = {name: values[k : k + 1] for name, values in parameters.items()}
        alone = samples.select(slice(k, k + 1)).first(max(1, COUNTS[k]))
        one, grads = gradients(model, own, alone, draws[k : k + 1], "serial")
        torch.testing.assert_close(loss[k : k + 1], one, rtol=1e-5, atol=1e-6)
        for whole, part in zip(gradient, grads, strict=True):
            torch.testing.assert_close(whole[k : k + 1], part, rtol=1e-4, atol=1e-5)


def test_a_client_of_nan_spoils_no_other():
    model, samples = some_model(), some_samples([5, 5])
    parameters = some_parameters(model, 2)
    parameters["router.theta"][0] = math.nan
    loss, gradient = gradients(model, parameters, samples, torch.full((2,), 0.5))
    assert loss[0].isnan()
    assert loss[1].isfinite()
    assert all(values[1].isfinite().all() for values in gradient)


def test_ridge_follows_its_law_up_to_its_reach():
    parameters = FIT.initial(1)
    parameters[RIDGE] = torch.tensor([0.5]).log()
    parameters[SLOPE] = torch.tensor([-1.0])
    found = [float(FIT.ridge(parameters, torch.tensor([n]))[0]) for n in (0, 1, 8, 32, 5000)]
    assert found == pytest.approx([4, 4, 0.5, 0.125, 0.125])


@pytest.mark.parametrize("execution", ["vmap", "serial"])
def test_solved_clients_are_ordinary_mixtures(execution, monkeypatch):
    model, samples = some_model(), some_samples()
    parameters = some_parameters(model, 5)
    experts = WITH_PRIOR.solved(model, parameters, samples, execution)
    routing = routing_weights(model, parameters, samples.x)
    ridge = WITH_PRIOR.ridge(parameters, samples.counts)
    goal, x = targets(samples.y, 3), samples.x - CENTRE
    found = solve(routing, x, goal, samples.mask, ridge, parameters[PRIOR])
    scores = parameters[SCALE].exp()[:, None, None] * answer(routing, x, found)
    router = {name: values for name, values in parameters.items() if name.startswith("router.")}
    logits = apply(model, {**router, **experts}, samples.x)
    torch.testing.assert_close(logits, scores.float(), rtol=1e-4, atol=1e-4)
    monkeypatch.setattr(solving, "MEMORY", 1)
    one_by_one = WITH_PRIOR.solved(model, parameters, samples, execution)
    for name, values in experts.items():
        torch.testing.assert_close(one_by_one[name], values, rtol=1e-5, atol=1e-6)


def test_a_client_without_samples_has_the_prior():
    model, samples = some_model(), some_samples([0, 4])
    parameters = some_parameters(model, 2)
    weight = WITH_PRIOR.solved(model, parameters, samples)["experts.weight"]
    expected = parameters[SCALE][0].exp() * parameters[PRIOR][0, ..., :-1]
    torch.testing.assert_close(weight[0], expected)


def test_solving_fits_what_it_was_shown():
    model, samples = some_model(), some_samples([6, 9])
    parameters = some_parameters(model, 2, prior=False)
    parameters[RIDGE] -= 12
    router = {n: p for n, p in parameters.items() if n.startswith("router.")}
    full = {**router, **FIT.solved(model, parameters, samples)}
    assert evaluate(model, full, samples).accuracy.tolist() == [1.0, 1.0]


@pytest.mark.parametrize("counts", [[6, 9], [60, 3]])
def test_experts_may_see_what_the_router_does_not(counts):
    model, samples = some_model(), some_samples(counts)
    wide = build_model(ModelConfig(), 2, 3, inputs=9)
    generator = torch.Generator().manual_seed(5)
    more = torch.randn(*samples.y.shape, 9, generator=generator)
    both = Samples(torch.cat([samples.x, more], -1), samples.y, samples.counts)
    fit = Solve(4, 9, 3, prior=True)
    parameters = {**some_parameters(model, 2, False), **fit.initial(2)}
    draws = torch.tensor([0.2, 0.8])
    loss = fit.loss(wide, parameters, both, draws)
    same = {**parameters, **WITH_PRIOR.initial(2)}
    assert not torch.allclose(loss, WITH_PRIOR.loss(model, same, samples, draws))
    routing = routing_weights(model, parameters, samples.x)
    ridge = fit.ridge(parameters, samples.counts)
    found = solve(routing, more, targets(samples.y, 3), samples.mask, ridge)
    experts = fit.solved(wide, parameters, both)
    expected = parameters[SCALE].exp()[:, None, None, None] * found
    torch.testing.assert_close(experts["experts.weight"], expected[..., :-1].float())
    torch.testing.assert_close(experts["experts.bias"], expected[..., -1].float())
