"""Rounds in which many fail, and rounds in which nobody does."""

import sys

import numpy as np
import pytest
from faults import OTHERS, VICTIM, put, replace_metric
from flwr.app import ArrayRecord
from played_rounds import (
    LAYOUT,
    SIZE,
    ask,
    make_strategy,
    play,
    reply,
    shared,
    updates_of,
    vector,
)

from qmoe_fed import rng
from strategies import CentralDP, Momentum, krum, median


def test_an_extra_metric_on_one_client_does_no_harm():
    arrays, metrics = play(make_strategy(), {VICTIM: replace_metric("note", 3)})
    assert metrics["clients-accepted"] == 6
    assert vector(arrays).tobytes() == vector(play(make_strategy())[0]).tobytes()


def test_a_zero_update_counts():
    def zero(arrays, metrics):
        arrays.update({name: np.zeros_like(values) for name, values in arrays.items()})

    arrays, metrics = play(make_strategy(), {VICTIM: zero})
    assert metrics["clients-accepted"] == 6
    expected = updates_of(OTHERS).astype(float).sum(0) / 6
    np.testing.assert_allclose(vector(arrays), expected, atol=1e-6)

    private = CentralDP(1.0, 0.1, num_clients=6, noise_source="seed")
    arrays, metrics = play(make_strategy(mechanisms=[private], quorum=0), {VICTIM: zero})
    assert metrics["clients-accepted"] == 6
    lengths = np.linalg.norm(updates_of(OTHERS).astype(float), axis=1, keepdims=True)
    noise = 0.1 * rng.generator(0, "central-dp", 0, 1).standard_normal(SIZE)
    expected = ((updates_of(OTHERS) / np.maximum(lengths, 1)).sum(0) + noise) / 6
    np.testing.assert_allclose(vector(arrays), expected, atol=1e-6)


def every_host(edit):
    return dict.fromkeys(range(6), edit)


@pytest.mark.parametrize(
    "edits", [every_host(None), every_host(put(np.nan))], ids=["silent", "nan"]
)
@pytest.mark.parametrize("quorum", [0.0, 0.5])
def test_a_round_in_which_all_fail_does_not_count(edits, quorum, caplog):
    strategy = make_strategy(quorum=quorum)
    arrays, metrics = play(strategy, edits)
    assert arrays is None
    assert metrics["round-counted"] == metrics["clients-accepted"] == 0
    assert metrics["clients-rejected"] == [0, 1, 2, 3, 4, 5]
    assert "train-loss" not in metrics
    assert "round 1 does not count: 0 clients accepted" in caplog.text


def test_a_round_below_the_quorum_leaves_everything_as_it_was():
    strategy = make_strategy(quorum=0.5, server_step=Momentum())
    play(strategy)
    before = strategy.state_dict()["step.momentum"].clone()
    arrays, metrics = play(strategy, dict.fromkeys(range(4), None), server_round=2)
    assert arrays is None
    assert (metrics["clients-accepted"], metrics["round-counted"]) == (2, 0)
    assert metrics["train-loss"] == pytest.approx(5.0)
    assert strategy.state_dict()["step.momentum"].equal(before)
    arrays, _ = play(strategy, dict.fromkeys(range(3), None), server_round=3)
    assert arrays is not None


def test_the_next_round_starts_with_a_clean_slate():
    strategy = make_strategy()
    play(strategy, {VICTIM: None})
    _, metrics = play(strategy, server_round=2)
    assert strategy.rejections == metrics["clients-rejected"] == []


@pytest.mark.parametrize("rule", [median, lambda u, w: krum(u, w, num_byzantine=1)])
def test_the_order_and_the_spread_of_replies_do_not_change_a_bit(rule):
    results = set()
    for num_hosts in (1, 2, 3, 6):
        for shuffle in range(4):
            for parts in ({}, {"aggregator": rule}):
                strategy = make_strategy(num_hosts=num_hosts, weighting="examples", **parts)
                replies = [reply(m) for m in ask(strategy)]
                np.random.Generator(np.random.Philox(shuffle)).shuffle(replies)
                arrays, metrics = strategy.aggregate_train(1, replies)
                results.add((bool(parts), vector(arrays).tobytes(), metrics["train-loss"]))
    assert len(results) == 2


def test_nothing_shared_still_makes_a_round():
    strategy = make_strategy(num_hosts=2)
    messages = ask(strategy, arrays=ArrayRecord())
    assert [list(m.content["config"]["clients"]) for m in messages] == [[0, 2, 4], [1, 3, 5]]
    arrays, metrics = strategy.aggregate_train(1, [reply(m, layout={}) for m in messages])
    assert len(arrays) == 0
    assert (metrics["clients-accepted"], metrics["round-counted"]) == (6, 1)


def test_good_rows_cost_no_python_calls():
    def calls(num_clients):
        strategy = make_strategy(num_clients=num_clients, num_hosts=1)
        (message,) = ask(strategy)
        replies, count = [reply(message, put(np.nan))], 0

        def profile(frame, event, arg):
            nonlocal count
            count += event in ("call", "c_call")

        sys.setprofile(profile)
        try:
            _, metrics = strategy.aggregate_train(1, replies)
        finally:
            sys.setprofile(None)
        assert metrics["clients-accepted"] == num_clients - 1
        return count

    calls(10)  # the first call imports
    assert calls(20_000) < calls(10) + 100


def test_the_layout_of_the_test_messages():
    assert sum(int(np.prod(shape)) for shape in LAYOUT.values()) == SIZE
    assert vector(shared(2.0)).tolist() == [2.0] * SIZE
