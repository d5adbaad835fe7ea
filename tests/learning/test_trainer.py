"""Training many replicas at once equals training each alone, by other means."""

import copy
import math
from dataclasses import replace

import pytest
import torch
from torch.nn.functional import cross_entropy

from qmoe_fed import rng
from qmoe_fed.config import ModelConfig, TrainingConfig
from qmoe_fed.data import Samples
from qmoe_fed.learning import Task, evaluate, train, trainer, worst_tenth
from qmoe_fed.models import build_model, initial_parameters

COUNTS = [7, 20, 3, 12]
CLIENTS = [4, 0, 11, 2]
TORCH_OPTIMIZERS = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.05),
    "momentum": lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9),
    "adam": lambda p: torch.optim.Adam(p, lr=0.05),
}


def some_samples(counts=COUNTS, features=2, classes=2):
    generator = torch.Generator().manual_seed(0)
    counts = torch.tensor(counts)
    mask = torch.arange(counts.max()) < counts[:, None]
    x = torch.rand(len(counts), int(counts.max()), features, generator=generator) * math.pi
    y = torch.randint(classes, mask.shape, generator=generator)
    return Samples(x * mask[..., None], y * mask, counts)


def task_for(model_config=None, **settings):
    settings = {"local_epochs": 3, "batch_size": 8, "weight_decay": 0.0, **settings}
    model = build_model(model_config or ModelConfig(), 2, 2)
    names = frozenset(name for name, _ in model.named_parameters())
    return Task(model, names, TrainingConfig(**settings), seed=3)


def start(task, clients=CLIENTS):
    return initial_parameters(lambda: task.model, 1, clients)


def train_one_with_torch(task, parameters, samples, row, server_round=0):
    """The oracle: an ordinary PyTorch loop over one client's own samples."""
    model = copy.deepcopy(task.model)
    for name, parameter in model.named_parameters():
        parameter.data = parameters[name][row].clone()
    count, settings = int(samples.counts[row]), task.settings
    optimizer = TORCH_OPTIMIZERS[settings.optimizer](model.parameters())
    order = rng.permutation(
        task.seed,
        "batches",
        [CLIENTS[row]],
        samples.counts[row : row + 1].numpy(),
        settings.local_epochs,
        server_round,
    )
    total = 0.0
    for epoch in order[0]:
        for first in range(0, count, settings.batch_size):
            rows = epoch[first : first + settings.batch_size]
            loss = cross_entropy(model(samples.x[row, rows]), samples.y[row, rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item() * len(rows)
    return dict(model.named_parameters()), total / (count * settings.local_epochs)


@pytest.mark.parametrize("optimizer", TORCH_OPTIMIZERS)
def test_a_cohort_of_unequal_clients_trains_as_each_would_alone_in_plain_torch(optimizer):
    task, samples = task_for(optimizer=optimizer), some_samples()
    samples = replace(samples, x=samples.x.double())
    parameters = {name: values.double() for name, values in start(task).items()}
    trained = train(task, parameters, samples, CLIENTS, server_round=5)
    for row in range(len(COUNTS)):
        alone, loss = train_one_with_torch(task, parameters, samples, row, server_round=5)
        for name, values in alone.items():
            torch.testing.assert_close(trained.parameters[name][row], values, rtol=0, atol=1e-10)
        assert trained.loss[row].item() == pytest.approx(loss, abs=1e-6)


@pytest.mark.parametrize(
    "config",
    [
        ModelConfig(router="linear"),
        ModelConfig(router="mlp"),
        ModelConfig(router="trig"),
        ModelConfig(router="quantum"),
        ModelConfig(reuploading=False, num_experts=3),
        ModelConfig(entangler="strongly-entangling", readout="expval-adapter"),
        ModelConfig(embedding="rx", entangler="none", num_experts=2),
    ],
    ids=str,
)
def test_vmap_equals_serial_for_every_router(config):
    # SGD, because Adam blows up rounding noise in angles that have no effect, such as the last ω
    samples, task = some_samples(), task_for(config, optimizer="sgd")
    serial = replace(task, settings=replace(task.settings, execution="serial"))
    parameters = start(task)
    fast = train(task, parameters, samples, CLIENTS)
    slow = train(serial, parameters, samples, CLIENTS)
    for name, values in slow.parameters.items():
        torch.testing.assert_close(fast.parameters[name], values, rtol=0, atol=1e-6)
    torch.testing.assert_close(fast.loss, slow.loss, rtol=0, atol=1e-6)


def test_a_pennylane_device_trains_the_same_router_in_serial():
    fast = task_for(local_epochs=1)
    slow = task_for(
        ModelConfig(circuit_engine="pennylane:default.qubit"),
        local_epochs=1,
        execution="serial",
    )
    samples = some_samples([5, 9])
    a = train(fast, start(fast, [0, 1]), samples, [0, 1])
    b = train(slow, start(slow, [0, 1]), samples, [0, 1])
    for name, values in b.parameters.items():
        torch.testing.assert_close(a.parameters[name], values, rtol=0, atol=1e-6)


def test_chunks_of_replicas_change_nothing(monkeypatch):
    task, samples = task_for(), some_samples()
    whole = train(task, start(task), samples, CLIENTS)
    monkeypatch.setattr(trainer, "CHUNK", 3)
    parts = train(task, start(task), samples, CLIENTS)
    for name, values in whole.parameters.items():
        torch.testing.assert_close(parts.parameters[name], values, rtol=0, atol=1e-6)
    torch.testing.assert_close(parts.loss, whole.loss)


def test_frozen_parameters_stay_and_the_others_move():
    task, samples = task_for(), some_samples()
    parameters = start(task)
    experts_only = replace(task, trainable=frozenset({"experts.weight", "experts.bias"}))
    trained = train(experts_only, parameters, samples, CLIENTS).parameters
    assert torch.equal(trained["router.theta"], parameters["router.theta"])
    assert not torch.equal(trained["experts.weight"], parameters["experts.weight"])


def test_nothing_to_train_is_no_training():
    task, samples = task_for(), some_samples()
    parameters = start(task)
    trained = train(replace(task, trainable=frozenset()), parameters, samples, CLIENTS)
    for name, values in parameters.items():
        assert torch.equal(trained.parameters[name], values)


def test_optimiser_state_can_be_carried_on():
    task, samples = task_for(optimizer="adam", local_epochs=1), some_samples()
    first = train(task, start(task), samples, CLIENTS, 1)
    kept = train(task, first.parameters, samples, CLIENTS, 2, first.state)
    fresh = train(task, first.parameters, samples, CLIENTS, 2)
    steps = [math.ceil(count / 8) for count in COUNTS]
    assert first.state["count"].flatten().tolist() == steps
    assert kept.state["count"].flatten().tolist() == [2 * s for s in steps]
    assert not torch.equal(kept.parameters["router.theta"], fresh.parameters["router.theta"])


def test_the_proximal_term_pulls_anchored_parameters_to_their_start():
    samples, task = some_samples(), task_for(optimizer="sgd", learning_rate=0.05)
    parameters = start(task)

    def drift(mu):
        settings = replace(task.settings, proximal_mu=mu)
        anchored = replace(task, settings=settings, anchored=frozenset({"router.theta"}))
        trained = train(anchored, parameters, samples, CLIENTS).parameters
        return {n: (trained[n] - parameters[n]).norm().item() for n in parameters}

    free, held = drift(0.0), drift(10.0)
    assert held["router.theta"] < 0.5 * free["router.theta"]
    assert held["experts.weight"] > 0.5 * free["experts.weight"]


def test_one_proximal_step_has_the_gradient_of_the_paper():
    """FedProx, Li et al. 2020, eq. 2: the gradient gains μ (w - w₀)."""
    samples = some_samples([8])
    task = task_for(ModelConfig(router="linear"), optimizer="sgd", local_epochs=2, batch_size=8)
    names = task.trainable
    task = replace(task, anchored=names, settings=replace(task.settings, proximal_mu=0.7))
    w0 = start(task, [0])
    once = replace(task, settings=replace(task.settings, local_epochs=1, proximal_mu=0.0))
    w1 = train(once, w0, samples, [0]).parameters
    w2 = train(once, w1, samples, [0]).parameters  # full batches: order does not matter
    proximal = train(task, w0, samples, [0]).parameters
    for name in names:
        expected = w2[name] - 0.05 * 0.7 * (w1[name] - w0[name])
        torch.testing.assert_close(proximal[name], expected, rtol=0, atol=1e-6)


def test_weight_decay_shrinks_everything_but_angles():
    samples = some_samples([8])
    task = task_for(optimizer="sgd", local_epochs=1, batch_size=8, weight_decay=0.3)
    plain = replace(task, settings=replace(task.settings, weight_decay=0.0))
    w0 = start(task, [0])
    decayed = train(task, w0, samples, [0]).parameters
    free = train(plain, w0, samples, [0]).parameters
    for name, values in w0.items():
        shrink = 0.0 if name == "router.theta" else 0.05 * 0.3
        expected = free[name] - shrink * values
        torch.testing.assert_close(decayed[name], expected, rtol=0, atol=1e-6)


def test_a_diverged_replica_does_not_touch_the_others():
    task, samples = task_for(), some_samples()
    parameters = start(task)
    healthy = train(task, parameters, samples, CLIENTS).parameters
    parameters["experts.bias"] = parameters["experts.bias"].clone()
    parameters["experts.bias"][1] = float("nan")
    mixed = train(task, parameters, samples, CLIENTS).parameters
    for name, values in healthy.items():
        assert torch.equal(mixed[name][[0, 2, 3]], values[[0, 2, 3]])
        assert mixed[name][1].isnan().any()


def test_evaluate_counts_own_samples_only():
    model = build_model(ModelConfig(router="linear", num_experts=1), 2, 2)
    zero = {name: torch.zeros(2, *p.shape) for name, p in model.named_parameters()}
    zero["experts.bias"][:, 0, 0] = 1.0  # always class 0
    y = torch.tensor([[0, 0, 1, 0], [1, 0, 0, 0]])
    samples = Samples(torch.rand(2, 4, 2), y, torch.tensor([4, 2]))
    for execution in ("vmap", "serial"):
        scores = evaluate(model, zero, samples, execution)
        assert scores.accuracy.tolist() == [0.75, 0.5]
        right, wrong = math.log1p(math.exp(-1)), math.log1p(math.e)
        expected = [(3 * right + wrong) / 4, (right + wrong) / 2]
        torch.testing.assert_close(scores.loss, torch.tensor(expected))


def test_worst_tenth():
    assert worst_tenth(torch.arange(20.0)) == 0.5
    assert worst_tenth(torch.tensor([3.0, 1.0])) == 1.0


@pytest.mark.parametrize("optimizer", TORCH_OPTIMIZERS)
def test_every_replica_may_have_a_learning_rate_of_its_own(optimizer):
    task, samples = task_for(optimizer=optimizer), some_samples()
    parameters, rates = start(task), [0.01, 0.1, 0.03, 0.2]
    together = train(task, parameters, samples, CLIENTS, learning_rates=torch.tensor(rates))
    for row, rate in enumerate(rates):
        settings = replace(task.settings, learning_rate=rate)
        alone = train(replace(task, settings=settings), parameters, samples, CLIENTS)
        for name, values in together.parameters.items():
            torch.testing.assert_close(values[row], alone.parameters[name][row])
