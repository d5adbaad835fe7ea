"""Fitting many seeds at once is fitting each alone, by a plain PyTorch loop, stopped early."""

import copy
import math

import pytest
import torch
from study_models import model as settings_of
from torch.nn.functional import cross_entropy

from qmoe_fed import rng
from qmoe_fed.data import Samples
from qmoe_fed.experiments.datasets import MOONS, Source, load
from qmoe_fed.experiments.models import build
from qmoe_fed.experiments.protocol import Protocol, fit
from qmoe_fed.learning import evaluate
from qmoe_fed.models import initial_parameters

SEEDS = 3
RATES = [0.01, 0.3, 0.1]


def small(samples, count):
    return Samples(samples.x[:, :count], samples.y[:, :count], torch.full((SEEDS,), count))


@pytest.fixture(scope="module")
def split():
    whole = load(Source(MOONS, SEEDS, noise=0.3))  # noisy, so that validation turns up
    return small(whole.train, 40), small(whole.validation, 40)


def fit_some(split, protocol, rows=range(SEEDS), name="linear"):
    train, validation = split
    rows = torch.tensor(list(rows))
    model = build(settings_of(name), 2, 2)
    start = initial_parameters(lambda: model, 5, rows.tolist())
    rates = torch.tensor(RATES)[rows]
    fitted = fit(
        model, start, train.select(rows), validation.select(rows), rows.tolist(), rates, protocol
    )
    return model, start, fitted


def validation_losses_by_plain_torch(model, start, split, seed, epochs, protocol):
    """The oracle: one seed alone, no early stop; the parameters and loss after every epoch."""
    train, validation = split
    model = copy.deepcopy(model)
    for name, parameter in model.named_parameters():
        parameter.data = start[name][seed].clone()
    optimizer = torch.optim.Adam(model.parameters(), lr=RATES[seed])
    history = []
    for epoch in range(1, epochs + 1):
        counts = train.counts[seed : seed + 1].numpy()
        order = rng.permutation(protocol.seed, "batches", [seed], counts, 1, epoch)[0, 0]
        for first in range(0, len(order), protocol.batch_size):
            rows = order[first : first + protocol.batch_size]
            optimizer.zero_grad()
            cross_entropy(model(train.x[seed, rows]), train.y[seed, rows]).backward()
            optimizer.step()
        with torch.no_grad():
            loss = cross_entropy(model(validation.x[seed]), validation.y[seed]).item()
        history.append(({n: p.detach().clone() for n, p in model.named_parameters()}, loss))
    return history


def stop(losses, patience):
    """Return the best epoch and the last one, from 1, by the definition of early stopping."""
    best = 1
    for epoch, loss in enumerate(losses, 1):
        if loss < losses[best - 1]:
            best = epoch
        if epoch - best == patience:
            return best, epoch
    return best, len(losses)


def test_every_seed_stops_and_keeps_its_best_epoch_as_a_plain_loop_would(split):
    protocol = Protocol(seed=4, batch_size=16, max_epochs=60, patience=3)
    model, start, fitted = fit_some(split, protocol)
    lengths = []
    for seed in range(SEEDS):
        history = validation_losses_by_plain_torch(model, start, split, seed, 60, protocol)
        losses = [loss for _, loss in history]
        best, last = stop(losses, protocol.patience)
        lengths.append(last)
        assert fitted.best_epoch[seed] == best
        assert (~fitted.validation_loss[seed].isnan()).sum() == last
        torch.testing.assert_close(
            fitted.validation_loss[seed, :last], torch.tensor(losses[:last]), rtol=1e-4, atol=1e-5
        )
        assert fitted.best_loss[seed] == fitted.validation_loss[seed, best - 1]
        for name, values in history[best - 1][0].items():
            torch.testing.assert_close(fitted.parameters[name][seed], values, rtol=1e-3, atol=1e-4)
    assert len(set(lengths)) == SEEDS  # each stopped at a time of its own
    assert min(lengths) < 60


def test_what_is_kept_has_the_loss_and_accuracy_of_its_epoch(split):
    model, _, fitted = fit_some(split, Protocol(max_epochs=30, patience=4), name="quantum")
    scores = evaluate(model, fitted.parameters, split[1])
    rows, best = torch.arange(SEEDS), fitted.best_epoch - 1
    torch.testing.assert_close(scores.loss, fitted.validation_loss[rows, best])
    torch.testing.assert_close(scores.accuracy, fitted.validation_accuracy[rows, best])


@pytest.mark.parametrize("name", ["quantum", "reuploading", "trig"])
def test_seeds_together_are_each_seed_alone(split, name):
    protocol = Protocol(max_epochs=8, patience=2)
    _, _, together = fit_some(split, protocol, name=name)
    for seed in range(SEEDS):
        _, _, alone = fit_some(split, protocol, [seed], name)
        assert alone.best_epoch[0] == together.best_epoch[seed]
        for key, values in alone.parameters.items():
            torch.testing.assert_close(
                values[0], together.parameters[key][seed], rtol=1e-4, atol=1e-5
            )


def test_only_what_is_trainable_changes(split):
    train, validation = split
    model = build(settings_of("quantum"), 2, 2)
    start = initial_parameters(lambda: model, 0, range(SEEDS))
    free = frozenset(name for name in start if name.startswith("experts."))
    rates = torch.full((SEEDS,), 0.1)
    fitted = fit(model, start, train, validation, range(SEEDS), rates, Protocol(max_epochs=2), free)
    assert torch.equal(fitted.parameters["router.theta"], start["router.theta"])
    assert not torch.equal(fitted.parameters["experts.weight"], start["experts.weight"])


def test_a_loss_that_is_no_number_is_never_the_best(split):
    train, validation = split
    model = build(settings_of("linear"), 2, 2)
    start = initial_parameters(lambda: model, 0, range(SEEDS))
    start["experts.weight"][1] = math.nan
    rates = torch.full((SEEDS,), 0.1)
    protocol = Protocol(max_epochs=9, patience=3)
    fitted = fit(model, start, train, validation, range(SEEDS), rates, protocol)
    assert fitted.best_epoch.tolist()[1] == 0
    assert fitted.best_loss[1] == torch.inf
    assert fitted.best_epoch[[0, 2]].min() > 0
