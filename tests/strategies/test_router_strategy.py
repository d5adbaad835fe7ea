import logging

import numpy as np
import pytest
import torch
from flwr.app import Array, ArrayRecord, ConfigRecord
from flwr.serverapp import Grid
from played_rounds import (
    LAYOUT,
    ask,
    examples_of,
    make_strategy,
    play,
    reply,
    shared,
    updates_of,
    vector,
)

from qmoe_fed.errors import UserError
from qmoe_fed.federated.flower.messages import EXAMPLES
from qmoe_fed.models import wrap
from strategies import Adam, CentralDP, Mechanism, Momentum, TooFewClients, krum

ANGLES = frozenset({"theta", "not shared"})


def test_each_host_is_asked_once_for_all_of_its_sampled_clients():
    strategy = make_strategy(num_clients=7, num_hosts=3)
    arrays = shared(0.5)
    messages = strategy.configure_train(4, arrays, ConfigRecord({"note": "x"}), None)
    configs = {m.metadata.dst_node_id: dict(m.content["config"]) for m in messages}
    assert configs == {
        100: {"server-round": 4, "note": "x", "clients": [0, 3, 6]},
        101: {"server-round": 4, "note": "x", "clients": [1, 4]},
        102: {"server-round": 4, "note": "x", "clients": [2, 5]},
    }
    assert {m.metadata.message_type for m in messages} == {"train"}
    for message in messages:
        np.testing.assert_array_equal(vector(message.content["arrays"]), vector(arrays))


def test_a_fraction_of_the_clients_is_asked_and_differs_by_round():
    strategy = make_strategy(num_clients=50, num_hosts=4, fraction_train=0.2)

    def asked(server_round):
        messages = ask(strategy, server_round)
        return sorted(c for m in messages for c in m.content["config"]["clients"])

    assert len(asked(1)) == len(asked(2)) == 10
    assert asked(1) != asked(2)


def test_uniform_weighting_is_the_plain_mean_and_examples_weigh_by_them():
    rows = updates_of(range(6)).astype(float)
    uniform, _ = play(make_strategy())
    np.testing.assert_allclose(vector(uniform), rows.mean(0), atol=1e-6)
    weighted, _ = play(make_strategy(weighting="examples"))
    expected = np.average(rows, axis=0, weights=examples_of(range(6)))
    np.testing.assert_allclose(vector(weighted), expected, atol=1e-6)


@pytest.mark.parametrize("num_hosts", [1, 2, 3, 6])
def test_an_aggregator_sees_one_row_per_client_in_client_order(num_hosts):
    seen = []

    def spy(updates, weights):
        seen.append((updates.numpy(), weights.tolist()))
        return updates.mean(0)

    play(make_strategy(num_hosts=num_hosts, aggregator=spy, weighting="examples"))
    ((updates, weights),) = seen
    assert updates.dtype == np.float64
    np.testing.assert_array_equal(updates, updates_of(range(6)))
    assert weights == examples_of(range(6))


def test_the_new_arrays_have_names_shapes_and_type_of_the_old():
    arrays, _ = play(make_strategy())
    assert {name: array.shape for name, array in arrays.items()} == LAYOUT
    assert {array.dtype for array in arrays.values()} == {"float32"}


def test_what_a_round_reports():
    _, metrics = play(make_strategy(num_hosts=2), {1: None})
    assert dict(metrics) == {
        "clients-sampled": 6,
        "clients-accepted": 3,
        "clients-rejected": [1, 3, 5],
        "round-counted": 1,
        "train-loss": 2.5,
    }


def setting(theta):
    """Return an edit that makes a host's clients end at ``theta``, from shared angles of 3."""

    def edit(arrays, metrics):
        arrays["theta"][:] = theta - 3.0
        arrays["bias"][:] = theta - 3.0

    return edit


def test_angles_on_either_side_of_pi_average_to_pi_and_not_to_zero():
    strategy = make_strategy(num_clients=2, num_hosts=2, angles=ANGLES)
    edits = [setting(np.pi - 0.1), setting(-np.pi + 0.1)]  # the second as a user's client might
    messages = ask(strategy, arrays=shared(3.0))
    replies = [reply(m, e) for m, e in zip(messages, edits, strict=True)]
    arrays, _ = strategy.aggregate_train(1, replies)
    np.testing.assert_allclose(np.abs(arrays["theta"].numpy()), np.pi, atol=1e-6)
    np.testing.assert_allclose(arrays["bias"].numpy(), 0.0, atol=1e-6)


def test_angles_stay_in_their_interval_after_the_step():
    strategy = make_strategy(num_clients=2, num_hosts=2, angles=ANGLES)
    edits = [setting(4.0), setting(4.5)]
    replies = [reply(m, e) for m, e in zip(ask(strategy, arrays=shared(3.0)), edits, strict=True)]
    arrays, _ = strategy.aggregate_train(1, replies)
    np.testing.assert_allclose(arrays["theta"].numpy(), 4.25 - 2 * np.pi, atol=1e-6)
    np.testing.assert_allclose(arrays["bias"].numpy(), 4.25, atol=1e-6)


def test_a_whole_turn_more_is_the_same_update_of_an_angle():
    def turned(arrays, metrics):
        arrays["theta"] = arrays["theta"] + np.float64(4 * np.pi)

    result, _ = play(make_strategy(angles=ANGLES), {2: turned})
    expected, _ = play(make_strategy(angles=ANGLES))
    np.testing.assert_allclose(vector(result), vector(expected), atol=1e-6)


@pytest.mark.parametrize("size", [1e30, -1e5, 101.0])
def test_an_update_of_an_angle_that_is_too_large_is_not_hidden_by_its_turns(size):
    def far(arrays, metrics):
        arrays["theta"][0, 1, 1] = size

    strategy = make_strategy(angles=ANGLES)
    _, metrics = play(strategy, {2: far})
    assert metrics["clients-rejected"] == [2]
    assert "more than max-update-norm = 100" in strategy.rejections[0].reason


def test_wrapping():
    turns = torch.arange(-3, 4, dtype=torch.float64) * 2 * torch.pi
    for angle in (-3.1, -1.0, 0.0, 2.0, 3.1):
        torch.testing.assert_close(wrap(angle + turns), torch.full_like(turns, angle))
    ends = torch.tensor([torch.pi, -torch.pi], dtype=torch.float64)
    assert wrap(ends).tolist() == [torch.pi, torch.pi]
    inside = torch.linspace(-3.14, 3.14, 1001, dtype=torch.float64)
    assert wrap(inside).equal(inside)


def test_krum_with_too_few_left_does_not_count_and_does_not_end_the_run(caplog):
    strategy = make_strategy(aggregator=lambda u, w: krum(u, w, num_byzantine=1))
    arrays, metrics = play(strategy, {0: None, 1: None})
    assert arrays is None
    assert (metrics["clients-accepted"], metrics["round-counted"]) == (4, 0)
    assert "round 1 does not count: krum with num-byzantine = 1 needs at least 5" in caplog.text
    arrays, metrics = play(strategy, {0: None}, server_round=2)
    assert metrics["round-counted"] == 1


def test_a_users_aggregator_is_a_function():
    def largest(updates, weights):
        if len(updates) < 3:
            raise TooFewClients("largest wants three")
        return updates.abs().amax(0) * weights.max()

    strategy = make_strategy(aggregator=largest, weighting="examples", quorum=0.0)
    arrays, _ = play(strategy)
    expected = 15 * np.abs(updates_of(range(6))).max(0)
    np.testing.assert_allclose(vector(arrays), expected, rtol=1e-6)
    assert play(strategy, dict.fromkeys(range(4), None), server_round=2)[0] is None


@pytest.mark.parametrize(
    "rule",
    [
        lambda u, w: u.mean(),
        lambda u, w: u.mean(0)[:3],
        lambda u, w: u.mean(0) / 0,
        lambda u, w: u.mean(0).numpy(),
        lambda u, w: None,
    ],
    ids=["number", "short", "infinite", "array", "nothing"],
)
def test_an_aggregator_that_returns_no_update_is_refused(rule):
    with pytest.raises(UserError, match=r"(?s)round 1: aggregator .*; expected a tensor of 7"):
        play(make_strategy(aggregator=rule))


def test_aggregating_what_was_not_asked_for_is_a_mistake():
    strategy = make_strategy()
    with pytest.raises(RuntimeError, match=r"aggregate_train\(1\) without its configure_train"):
        strategy.aggregate_train(1, [])
    ask(strategy, 1)
    with pytest.raises(RuntimeError, match=r"aggregate_train\(2\)"):
        strategy.aggregate_train(2, [])


def run_rounds(strategy, arrays, rounds):
    for server_round in rounds:
        replies = [reply(message) for message in ask(strategy, server_round, arrays)]
        arrays, metrics = strategy.aggregate_train(server_round, replies)
    return arrays, metrics


@pytest.mark.parametrize("step", [Momentum(0.5), Adam(0.1)])
@pytest.mark.parametrize("private", [False, True])
def test_a_resumed_run_gives_the_same_bits_as_one_that_was_never_stopped(step, private):
    def fresh():
        mechanisms = [CentralDP(0.5, 1.0, num_clients=6, noise_source="seed")] if private else []
        return make_strategy(server_step=step, mechanisms=mechanisms, quorum=0)

    whole, metrics = run_rounds(fresh(), shared(), range(1, 6))
    first, second = fresh(), fresh()
    half, _ = run_rounds(first, shared(), range(1, 3))
    second.load_state_dict(first.state_dict())
    resumed, resumed_metrics = run_rounds(second, half, range(3, 6))
    assert vector(resumed).tobytes() == vector(whole).tobytes()
    assert dict(resumed_metrics) == dict(metrics)


def test_the_state_is_numbers_and_tensors_under_flat_names():
    strategy = make_strategy(
        server_step=Momentum(), mechanisms=[Mechanism(), CentralDP(1.0, 1.0, 6)], quorum=0
    )
    play(strategy)
    state = strategy.state_dict()
    assert state["mechanism.1.rounds"] == 1
    assert state["step.momentum"].shape == (7,)
    assert all(isinstance(value, int | float | torch.Tensor) for value in state.values())
    assert make_strategy().state_dict() == {}


class OneProcess(Grid):
    """Answers train messages on the spot; all that Flower's own loop needs of a grid."""

    def set_run(self, run):
        raise NotImplementedError

    run = property(lambda self: None)

    def create_message(self, *args, **kwargs):
        raise NotImplementedError

    push_messages = pull_messages = create_message

    def get_node_ids(self):
        return []

    def send_and_receive(self, messages, *, timeout=None):
        return [reply(message) for message in messages]


def test_flowers_own_loop_runs_it():
    result = make_strategy().start(OneProcess(), shared(), num_rounds=3)
    expected = 3 * updates_of(range(6)).astype(float).mean(0)
    np.testing.assert_allclose(vector(result.arrays), expected, atol=1e-5)
    assert result.train_metrics_clientapp[3]["round-counted"] == 1
    assert not result.evaluate_metrics_clientapp


def test_a_summary_says_what_runs(caplog):
    with caplog.at_level(logging.INFO):
        make_strategy(server_step=Momentum(0.5)).summary()
    assert "6 clients on 6 hosts" in caplog.text
    assert "Momentum(lr=0.5, beta=0.9)" in caplog.text


def test_arrays_of_other_precision_are_taken(caplog):
    strategy = make_strategy(num_clients=1, num_hosts=1)
    start = ArrayRecord({n: Array(np.ones(s, np.float64)) for n, s in LAYOUT.items()})

    def exact(arrays, metrics):
        arrays.update({name: values.astype(np.float64) for name, values in arrays.items()})
        metrics[EXAMPLES] = [7.0]

    (message,) = ask(strategy, arrays=start)
    arrays, _ = strategy.aggregate_train(1, [reply(message, exact)])
    np.testing.assert_allclose(vector(arrays), 1 + updates_of([0])[0], atol=1e-6)
