"""The same numbers as Flower's own strategies, where they mean the same."""

import numpy as np
import pytest
import torch
from flwr.app import Array, ArrayRecord, Message, MetricRecord, RecordDict
from flwr.serverapp import strategy as flower
from played_rounds import SIZE, ask, examples_of, make_strategy, reply, shared, updates_of, vector

from strategies import Adam, Momentum, Plain, krum, median, trimmed_mean

NUM_CLIENTS, START = 10, 0.25


def ours(rounds=1, **parts):
    """Return the shared parameters after some rounds of the same updates."""
    strategy = make_strategy(NUM_CLIENTS, NUM_CLIENTS, **parts)
    arrays = shared(START)
    for server_round in range(1, rounds + 1):
        replies = [reply(message) for message in ask(strategy, server_round, arrays)]
        arrays, _ = strategy.aggregate_train(server_round, replies)
    return vector(arrays)


def theirs(strategy, rounds=1):
    """Return the same of a stock strategy, whose clients send their whole parameters."""
    place = np.full(SIZE, START)
    for server_round in range(1, rounds + 1):
        current = ArrayRecord({"all": Array(place)})
        if isinstance(strategy, flower.FedAvgM):
            strategy.current_arrays = current
        elif hasattr(strategy, "current_arrays"):
            strategy.current_arrays = {"all": place}
        replies = []
        for client, update in enumerate(updates_of(range(NUM_CLIENTS)).astype(float)):
            asked = Message(RecordDict({"arrays": current}), 100 + client, "train")
            metrics = MetricRecord({"num-examples": examples_of([client])[0]})
            content = {"arrays": ArrayRecord({"all": Array(place + update)}), "metrics": metrics}
            replies.append(Message(RecordDict(content), reply_to=asked))
        arrays, _ = strategy.aggregate_train(server_round, replies)
        place = arrays["all"].numpy()
    return place


@pytest.mark.parametrize(
    ("parts", "stock"),
    [
        ({"weighting": "examples"}, flower.FedAvg()),
        ({"aggregator": median}, flower.FedMedian()),
        (
            {"aggregator": lambda u, w: trimmed_mean(u, w, trim_fraction=0.2)},
            flower.FedTrimmedAvg(beta=0.2),
        ),
        (
            {"aggregator": lambda u, w: krum(u, w, num_byzantine=2)},
            flower.Krum(num_malicious_nodes=2),
        ),
    ],
    ids=["mean", "median", "trimmed-mean", "krum"],
)
def test_aggregators(parts, stock):
    np.testing.assert_allclose(ours(**parts), theirs(stock), atol=1e-6)


def test_momentum_over_rounds():
    parts = {"weighting": "examples", "server_step": Momentum(0.5, 0.8)}
    stock = flower.FedAvgM(server_learning_rate=0.5, server_momentum=0.8)
    np.testing.assert_allclose(ours(4, **parts), theirs(stock, 4), atol=1e-5)


def test_a_server_learning_rate():
    parts = {"weighting": "examples", "server_step": Plain(0.3)}
    stock = flower.FedAvgM(server_learning_rate=0.3, server_momentum=0.0)
    np.testing.assert_allclose(ours(3, **parts), theirs(stock, 3), atol=1e-6)


def test_adam_up_to_bias_correction():
    """Flower starts the variance at 0 instead of ε² and corrects for bias, one round ahead."""
    beta1, beta2 = 0.9, 0.99
    rows, weights = updates_of(range(NUM_CLIENTS)).astype(float), examples_of(range(NUM_CLIENTS))
    update = torch.from_numpy(np.average(rows, axis=0, weights=weights))
    step = Adam(0.1, (beta1, beta2), 1e-3)
    state = {name: torch.zeros(SIZE, dtype=torch.float64) for name in step.init(SIZE)}
    place = np.full(SIZE, START)
    for server_round in range(1, 5):
        change, state = step.apply(state, update)
        corrected = np.sqrt(1 - beta2 ** (server_round + 1)) / (1 - beta1 ** (server_round + 1))
        place = place + corrected * change.numpy()
    stock = flower.FedAdam(eta=0.1, beta_1=beta1, beta_2=beta2, tau=1e-3)
    np.testing.assert_allclose(place, theirs(stock, 4), atol=1e-9)
