"""Published ways to a model for each client, against plain loops."""

import pytest
import torch
from sklearn.linear_model import LogisticRegression

from qmoe_fed.config import ModelConfig, TrainingConfig
from qmoe_fed.data import Samples
from qmoe_fed.experiments.measures.personal import adapt, adapted_loss, attached, logistic
from qmoe_fed.learning import Task, train
from qmoe_fed.learning.replicas import row_of
from qmoe_fed.models import build_model, initial_parameters

MODEL = build_model(ModelConfig(), 2, 2)


def some_samples(counts=(8, 5)):
    generator = torch.Generator().manual_seed(0)
    counts = torch.tensor(counts)
    mask = torch.arange(int(counts.max())) < counts[:, None]
    x = 3 * torch.rand(*mask.shape, 2, generator=generator)
    y = torch.randint(2, mask.shape, generator=generator)
    return Samples(x * mask[..., None], y * mask, counts)


def some_parameters(clients=2):
    return initial_parameters(lambda: MODEL, 3, range(clients))


def loss_of(parameters, x, y):
    scores = torch.func.functional_call(MODEL, parameters, (x,))
    return torch.nn.functional.cross_entropy(scores, y)


def gradient_of(parameters, x, y):
    inputs = {name: values.detach().requires_grad_() for name, values in parameters.items()}
    found = torch.autograd.grad(loss_of(inputs, x, y), list(inputs.values()))
    return dict(zip(inputs, found, strict=True))


def test_one_step_on_all_samples_is_gradient_descent_of_each_client():
    samples, parameters = some_samples(), some_parameters()
    moved = adapt(MODEL, parameters, samples, 0.3)
    for k, count in enumerate((8, 5)):
        own = row_of(parameters, k)
        gradient = gradient_of(own, samples.x[k, :count], samples.y[k, :count])
        for name, values in own.items():
            torch.testing.assert_close(moved[name][k], values - 0.3 * gradient[name])


def test_the_adapted_loss_is_that_of_the_second_half_and_its_gradient_is_of_first_order():
    samples, parameters = some_samples(), some_parameters()
    free = {name: values.clone().requires_grad_() for name, values in parameters.items()}
    loss = adapted_loss(0.3)(MODEL, free, samples, torch.zeros(2), "vmap")
    found = dict(zip(free, torch.autograd.grad(loss.sum(), list(free.values())), strict=True))
    for k, (half, count) in enumerate(((4, 8), (2, 5))):
        own = row_of(parameters, k)
        first = gradient_of(own, samples.x[k, :half], samples.y[k, :half])
        moved = {name: values - 0.3 * first[name] for name, values in own.items()}
        query = samples.x[k, half:count], samples.y[k, half:count]
        torch.testing.assert_close(loss[k], loss_of(moved, *query))
        for name, expected in gradient_of(moved, *query).items():
            torch.testing.assert_close(found[name][k], expected)


def test_a_model_that_is_attached_is_pulled_to_the_anchor():
    # one step of length 1/λ ends at the anchor less gradient/λ
    samples, parameters = some_samples(), some_parameters()
    anchor = {name: values + 1 for name, values in parameters.items()}
    settings = TrainingConfig(
        optimizer="sgd", learning_rate=1 / 50, local_epochs=1, weight_decay=0.0
    )
    task = attached(Task(MODEL, frozenset(parameters), settings, 0), 50.0)
    trained = train(task, parameters, samples, [0, 1], anchor=anchor).parameters
    for k, count in enumerate((8, 5)):
        gradient = gradient_of(row_of(parameters, k), samples.x[k, :count], samples.y[k, :count])
        for name, values in trained.items():
            expected = anchor[name][k] - gradient[name] / 50
            torch.testing.assert_close(values[k], expected, atol=1e-5, rtol=1e-5)


def test_logistic_regression_is_scikit_learns_of_each_client_or_of_all():
    own, test = some_samples((8, 5)), some_samples((7, 8))
    found = logistic(MODEL.parts, own, test, 10.0)
    for k, (count, tested) in enumerate(((8, 7), (5, 8))):
        model = LogisticRegression(C=10.0).fit(own.x[k, :count], own.y[k, :count])
        expected = model.score(test.x[k, :tested], test.y[k, :tested])
        assert float(found[k]) == pytest.approx(expected)
    pool = own.select(slice(0, 1))
    everyone = logistic(MODEL.parts, pool, test, 10.0)
    assert float(everyone[0]) == float(found[0])
    assert len(everyone) == 2


def test_a_client_of_one_class_predicts_it():
    own, test = some_samples((3,)), some_samples((8,))
    single = Samples(own.x, torch.ones_like(own.y), own.counts)
    found = logistic(MODEL.parts, single, test, 1.0)
    assert float(found[0]) == pytest.approx(float(test.y.double().mean()))
