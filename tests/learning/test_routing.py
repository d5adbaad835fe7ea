"""The measures of routing against plain loops, and the two options that change it."""

import math
from dataclasses import replace

import pytest
import torch
from test_trainer import CLIENTS, COUNTS, some_samples, start, task_for

from qmoe_fed.config import Config, ModelConfig
from qmoe_fed.errors import UserError
from qmoe_fed.learning import train
from qmoe_fed.learning.replicas import apply, row_of
from qmoe_fed.learning.routing import (
    balancing_loss,
    imbalance,
    load_by_class,
    mean_entropy,
    mutual_information,
    routing_weights,
)
from qmoe_fed.models import build_model

CLASSES, EXPERTS = 3, 4


def some_weights(samples):
    generator = torch.Generator().manual_seed(1)
    shape = (*samples.y.shape, EXPERTS)
    return (3 * torch.rand(shape, generator=generator)).exp().double().softmax(-1)


def plain_information(joint):
    total = 0.0
    for row in joint:
        for b, p in enumerate(row):
            if p > 0:
                total += p * math.log2(p / (sum(row) * sum(other[b] for other in joint)))
    return total


def test_measures_are_their_definitions():
    samples = some_samples(classes=CLASSES)
    weights = some_weights(samples)
    joint = [[[0.0] * len(COUNTS) for _ in range(CLASSES)] for _ in range(EXPERTS)]  # p(e, c, k)
    entropies = []
    for k, count in enumerate(COUNTS):
        entropy = 0.0
        for s in range(count):
            for e in range(EXPERTS):
                w = float(weights[k, s, e])
                joint[e][samples.y[k, s]][k] += w / count / len(COUNTS)
                entropy -= w * math.log2(w) / count
        entropies.append(entropy)
    by_class = load_by_class(weights, samples, CLASSES)
    expected = torch.tensor(joint, dtype=torch.float64).permute(2, 0, 1) * len(COUNTS)
    torch.testing.assert_close(by_class, expected)
    assert mean_entropy(weights, samples).tolist() == pytest.approx(entropies)

    with_class = [[sum(cell) for cell in row] for row in joint]
    with_client = [[sum(row[c][k] for c in range(CLASSES)) for k in range(4)] for row in joint]
    assert mutual_information(by_class.mean(0)) == pytest.approx(plain_information(with_class))
    described = imbalance(by_class.sum(-1), mean_entropy(weights, samples))
    assert described.entropy == pytest.approx(sum(entropies) / 4)
    assert described.client_information == pytest.approx(plain_information(with_client))
    assert described.max_load == pytest.approx(max(map(sum, with_client)))


def test_measures_at_their_limits():
    one_each = torch.eye(4, dtype=torch.float64)
    assert mutual_information(one_each / 4) == pytest.approx(2.0)
    assert mutual_information(torch.full((4, 3), 1 / 12)) == pytest.approx(0.0, abs=1e-6)
    collapsed = imbalance(torch.tensor([[0.96, 0.03, 0.01]] * 5), torch.zeros(5))
    assert collapsed.dead_experts == 2  # below a tenth of a third
    assert collapsed.client_information == pytest.approx(0.0, abs=1e-6)
    assert imbalance(one_each, torch.zeros(4)).dead_experts == 0


def test_balancing_loss_is_the_switch_formula():
    samples = some_samples()
    weights = some_weights(samples)
    loss = balancing_loss(weights, samples.mask)
    for k, count in enumerate(COUNTS):
        own = weights[k, :count].tolist()
        chosen = [sum(max(w) == w[e] for w in own) / count for e in range(EXPERTS)]
        mean = [sum(w[e] for w in own) / count for e in range(EXPERTS)]
        products = [f * p for f, p in zip(chosen, mean, strict=True)]
        assert float(loss[k]) == pytest.approx(EXPERTS * sum(products))
    everything = torch.ones(1, 6, dtype=torch.bool)
    assert balancing_loss(torch.eye(4)[[0] * 6][None], everything).item() == 4
    assert balancing_loss(torch.eye(3)[[0, 1, 2] * 2][None], everything).item() == pytest.approx(1)


def balance_after_training(coefficient, execution="vmap"):
    task = task_for(ModelConfig(router="linear"), execution=execution, local_epochs=30)
    task = replace(task, settings=replace(task.settings, load_balancing=coefficient))
    samples, parameters = some_samples(), start(task)
    parameters["router.linear.bias"] = torch.tensor([[2.0, 0, 0, 0]] * 4)  # favours expert 0
    trained = train(task, parameters, samples, CLIENTS).parameters
    weights = routing_weights(task.model, trained, samples.x)
    return trained, balancing_loss(weights, samples.mask)


def test_load_balancing_evens_out_and_does_not_depend_on_the_execution():
    _, without = balance_after_training(0.0)
    fast, balanced = balance_after_training(1.0)
    assert balanced.mean() < 1.3 < without.mean()
    slow, _ = balance_after_training(1.0, "serial")
    for name, values in fast.items():
        torch.testing.assert_close(values, slow[name], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("router", ["linear", "quantum"])
@pytest.mark.parametrize("k", [1, 2, 4])
def test_top_k_keeps_the_largest_weights(router, k):
    plain_task = task_for(ModelConfig(router=router))
    task = task_for(ModelConfig(router=router, top_k=k))
    parameters, samples = start(plain_task), some_samples()
    assert parameters.keys() == start(task).keys()
    everything = routing_weights(plain_task.model, parameters, samples.x)
    kept = routing_weights(task.model, parameters, samples.x)
    for before, after in zip(everything.flatten(0, 1), kept.flatten(0, 1), strict=True):
        largest = sorted(range(EXPERTS), key=lambda e: -before[e])[:k]
        total = sum(float(before[e]) for e in largest)
        expected = [float(before[e]) / total if e in largest else 0.0 for e in range(EXPERTS)]
        assert after.tolist() == pytest.approx(expected, abs=1e-6)
    serial = apply(task.model, parameters, samples.x, "serial")
    torch.testing.assert_close(apply(task.model, parameters, samples.x), serial)
    if k == EXPERTS:
        torch.testing.assert_close(kept, everything)
    with torch.no_grad():
        model = build_model(ModelConfig(router=router, top_k=k), 2, 2)
        model.load_state_dict(row_of(parameters, 0))
        experts = model.experts(samples.x[0])
        by_hand = torch.stack([w @ e for w, e in zip(kept[0], experts, strict=True)])
        torch.testing.assert_close(model(samples.x[0]), by_hand)


def test_top_k_trains_alike_in_both_executions():
    samples = some_samples()
    both = []
    for execution in ("vmap", "serial"):
        task = task_for(ModelConfig(top_k=2), execution=execution)
        both.append(train(task, start(task), samples, CLIENTS).parameters)
    for name, values in both[0].items():
        torch.testing.assert_close(values, both[1][name], rtol=1e-4, atol=1e-5)
        assert values.isfinite().all()


def test_more_experts_than_there_are_cannot_be_kept():
    with pytest.raises(UserError, match="top-k = 5: num-experts = 4 is the most"):
        Config.from_flat({"top-k": 5})
