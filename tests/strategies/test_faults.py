"""One bad client never changes the result of the others, ends the run, or goes unnamed."""

import io
import re
import sys

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, Error, Message, MetricRecord, RecordDict
from played_rounds import (
    LAYOUT,
    SIZE,
    ask,
    examples_of,
    make_strategy,
    play,
    reply,
    shared,
    updates_of,
    vector,
)

from qmoe_fed import rng
from qmoe_fed.federated.flower.messages import ARRAYS, CLIENT, EXAMPLES, LOSS, METRICS
from strategies import CentralDP, Momentum, krum, median

VICTIM = 2
OTHERS = [0, 1, 3, 4, 5]


def put(value):
    def edit(arrays, metrics, row=0):
        arrays["bias"][row, 1] = value

    return edit


def metric(name, value):
    def edit(arrays, metrics, row=0):
        metrics[name] = [float(v) for v in metrics[name]]
        metrics[name][row] = value

    return edit


# What is wrong with one client's row: the others on the same host still count.
ROW_FAULTS = {
    "nan": (put(np.nan), "update is not finite"),
    "inf": (put(np.inf), "update is not finite"),
    "minus inf": (put(-np.inf), "update is not finite"),
    "too far": (put(2000.0), r"norm of the update is 2000, more than max-update-norm = 100"),
    "overflowing": (put(3e38), "norm of the update is 3e\\+38"),
    "weight zero": (metric(EXAMPLES, 0.0), r"num-examples is 0, not in \[1, 1e\+06\]"),
    "weight negative": (metric(EXAMPLES, -9.0), "num-examples is -9"),
    "weight huge": (metric(EXAMPLES, 1e12), r"num-examples is 1e\+12"),
    "weight nan": (metric(EXAMPLES, np.nan), "num-examples is nan"),
    "weight inf": (metric(EXAMPLES, np.inf), "num-examples is inf"),
    "loss nan": (metric(LOSS, np.nan), "train-loss is nan"),
}


def replace_array(name, values):
    def edit(arrays, metrics):
        arrays[name] = values

    return edit


def replace_metric(name, values):
    def edit(arrays, metrics):
        metrics[name] = values

    return edit


# What is wrong with a reply: no client of that host counts.
REPLY_FAULTS = {
    "one number for four": (
        replace_array("theta", np.zeros((1, 1), np.float32)),
        r"'theta' has shape \(1, 1\), expected \(1, 2, 2\)",
    ),
    "five numbers for three": (
        replace_array("bias", np.zeros((1, 5), np.float32)),
        r"'bias' has shape \(1, 5\), expected \(1, 3\)",
    ),
    "not stacked": (
        replace_array("bias", np.zeros(3, np.float32)),
        r"'bias' has shape \(3,\), expected \(1, 3\)",
    ),
    "two rows for one client": (
        replace_array("bias", np.zeros((2, 3), np.float32)),
        r"'bias' has shape \(2, 3\), expected \(1, 3\)",
    ),
    "missing key": (
        lambda arrays, metrics: arrays.pop("bias"),
        r"parameters \['theta'\], expected \['bias', 'theta'\]",
    ),
    "extra key": (
        replace_array("expert", np.zeros((1, 9), np.float32)),
        r"parameters \['bias', 'expert', 'theta'\], expected",
    ),
    "renamed key": (
        lambda arrays, metrics: arrays.update(tehta=arrays.pop("theta")),
        r"parameters \['bias', 'tehta'\], expected",
    ),
    "int64": (
        replace_array("bias", np.zeros((1, 3), np.int64)),
        "'bias' is int64, expected float32 or float64",
    ),
    "complex": (replace_array("bias", np.zeros((1, 3), np.complex64)), "'bias' is complex64"),
    "no weights": (lambda arrays, metrics: metrics.pop(EXAMPLES), "'num-examples' is not a list"),
    "scalar metric": (replace_metric(EXAMPLES, 12), "'num-examples' is not a list .*: 12"),
    "ragged weights": (
        replace_metric(EXAMPLES, [10, 10]),
        "'num-examples' has 2 entries for 1 clients",
    ),
    "ragged losses": (replace_metric(LOSS, []), "'train-loss' has 0 entries for 1 clients"),
    "no rows": (
        lambda arrays, metrics: (
            arrays.update({name: values[:0] for name, values in arrays.items()}),
            metrics.update({name: [] for name in metrics}),
        ),
        "is missing from the reply of its host",
    ),
    "ids as fractions": (replace_metric(CLIENT, [2.5]), "'client' holds 2.5, expected whole"),
    "id beyond 64 bits": (replace_metric(CLIENT, [2**70]), "metric 'client': .* too large"),
}


def expected_mean(clients):
    rows = updates_of(clients).astype(np.float64)
    weights = np.array(examples_of(clients), dtype=np.float64)
    return (weights[:, None] * rows).sum(0) / weights.sum()


def check_left_out(strategy, result, twin, reason, caplog):
    """Check that a round with a fault equals the twin's, in which the victim never answered."""
    arrays, metrics = result
    assert [r.client for r in strategy.rejections] == [VICTIM]
    assert re.search(reason, strategy.rejections[0].reason)
    line = f"round 1: client {VICTIM} left out: {strategy.rejections[0].reason}"
    assert line in [record.getMessage() for record in caplog.records]
    assert metrics["clients-rejected"] == [VICTIM]
    assert metrics["clients-accepted"] == 5
    assert metrics["round-counted"] == 1
    assert metrics["train-loss"] == pytest.approx(np.mean([0.5 + c for c in OTHERS]))
    np.testing.assert_allclose(vector(arrays), expected_mean(OTHERS), atol=1e-6)
    twin_arrays, _ = play(twin, {VICTIM: None})
    assert vector(arrays).tobytes() == vector(twin_arrays).tobytes()


@pytest.mark.parametrize(("edit", "reason"), ROW_FAULTS.values(), ids=ROW_FAULTS)
def test_a_bad_row_is_left_out_alone_on_its_host(edit, reason, caplog):
    strategy = make_strategy(weighting="examples")
    result = play(strategy, {VICTIM: edit})
    check_left_out(strategy, result, make_strategy(weighting="examples"), reason, caplog)


@pytest.mark.parametrize(("edit", "reason"), ROW_FAULTS.values(), ids=ROW_FAULTS)
def test_a_bad_row_is_left_out_from_among_others_on_its_host(edit, reason, caplog):
    strategy = make_strategy(num_hosts=2, weighting="examples")
    result = play(strategy, {0: lambda arrays, metrics: edit(arrays, metrics, row=1)})
    check_left_out(strategy, result, make_strategy(weighting="examples"), reason, caplog)


@pytest.mark.parametrize(("edit", "reason"), REPLY_FAULTS.values(), ids=REPLY_FAULTS)
def test_an_unusable_reply_is_left_out(edit, reason, caplog):
    strategy = make_strategy(weighting="examples")
    result = play(strategy, {VICTIM: edit})
    check_left_out(strategy, result, make_strategy(weighting="examples"), reason, caplog)


def test_an_unusable_reply_costs_all_clients_of_that_host_and_no_others():
    strategy = make_strategy(num_hosts=3)
    _, metrics = play(strategy, {VICTIM: replace_metric(LOSS, [1.0])})
    assert metrics["clients-rejected"] == [2, 5]
    assert {r.reason for r in strategy.rejections} == {
        "metric 'train-loss' has 1 entries for 2 clients"
    }


def content_of(message):
    return reply(message).content


def bytes_instead(data):
    def answer(message):
        record = ArrayRecord(
            {n: Array("float32", (1, *s), "numpy.ndarray", data) for n, s in LAYOUT.items()}
        )
        metrics = content_of(message)[METRICS]
        return [Message(RecordDict({ARRAYS: record, METRICS: metrics}), reply_to=message)]

    return answer


def archive():
    buffer = io.BytesIO()
    np.savez(buffer, np.zeros((1, 2, 2)))
    return buffer.getvalue()


def hollow(message):
    answer = reply(message)
    answer.__dict__["_content"] = None  # as a forged message may arrive
    return [answer]


def without(record):
    def answer(message):
        content = content_of(message)
        del content[record]
        return [Message(content, reply_to=message)]

    return answer


def swapped_records(message):
    content = RecordDict({ARRAYS: MetricRecord({}), METRICS: ArrayRecord()})
    return [Message(content, reply_to=message)]


MESSAGE_FAULTS = {
    "error": (
        lambda m: [Message(Error(3, "ValueError:\n  no\n  data"), reply_to=m)],
        "its host failed: ValueError: no data",
    ),
    "error without reason": (
        lambda m: [Message(Error(1003), reply_to=m)],
        "its host failed: 1003",
    ),
    "no answer": (lambda m: [], "its host did not answer in time"),
    "two answers": (lambda m: [reply(m), reply(m)], "its host answered 2 times"),
    "junk": (bytes_instead(b"junk"), "'theta' cannot be read"),
    "nothing": (bytes_instead(b""), "'theta' cannot be read"),
    "archive": (bytes_instead(archive()), "cannot be read: the bytes are NpzFile, not an array"),
    "neither content nor error": (hollow, "lacks the record 'arrays' or 'metrics'"),
    "endless reason": (
        lambda m: [Message(Error(3, "line\n" * 1000), reply_to=m)],
        "^its host failed: [line ]{283}$",
    ),
    "no arrays": (without(ARRAYS), "lacks the record 'arrays' or 'metrics'"),
    "no metrics": (without(METRICS), "lacks the record 'arrays' or 'metrics'"),
    "swapped": (swapped_records, "lacks the record 'arrays' or 'metrics'"),
}


@pytest.mark.parametrize(("answer", "reason"), MESSAGE_FAULTS.values(), ids=MESSAGE_FAULTS)
def test_a_host_that_does_not_answer_properly_is_left_out(answer, reason, caplog):
    strategy = make_strategy(weighting="examples")
    replies = [
        one
        for message in ask(strategy)
        for one in (
            answer(message) if message.metadata.dst_node_id == 100 + VICTIM else [reply(message)]
        )
    ]
    result = strategy.aggregate_train(1, replies)
    check_left_out(strategy, result, make_strategy(weighting="examples"), reason, caplog)


def test_an_array_whose_bytes_disagree_with_its_label_is_judged_by_its_bytes():
    strategy = make_strategy()
    messages = ask(strategy)
    liar = reply(messages[VICTIM])
    inner = Array(np.zeros((1, 5), np.float32))
    liar.content[ARRAYS]["bias"] = Array("float32", (1, 3), inner.stype, inner.data)
    replies = [liar if i == VICTIM else reply(m) for i, m in enumerate(messages)]
    _, metrics = strategy.aggregate_train(1, replies)
    assert metrics["clients-rejected"] == [VICTIM]
    assert "(1, 5)" in strategy.rejections[0].reason


def test_a_row_of_a_client_that_was_not_sampled_is_left_out():
    strategy = make_strategy(num_clients=6, num_hosts=2, fraction_train=0.5, seed=1)
    sampled = [c for m in ask(strategy) for c in m.content["config"]["clients"]]
    stranger = next(c for c in range(0, 6, 2) if c not in sampled)

    def smuggle(arrays, metrics):
        for name in arrays:
            arrays[name] = np.concatenate([arrays[name], arrays[name][:1]])
        for name, extra in ((CLIENT, stranger), (EXAMPLES, 10), (LOSS, 1.0)):
            metrics[name] = [*metrics[name], extra]

    arrays, metrics = play(strategy, {0: smuggle})
    assert metrics["clients-sampled"] == metrics["clients-accepted"] == 3
    assert [(r.client, r.reason) for r in strategy.rejections] == [
        (stranger, "was not asked to train on that host")
    ]
    np.testing.assert_allclose(vector(arrays), updates_of(sampled).astype(float).mean(0), atol=1e-6)


def test_a_host_cannot_speak_for_a_client_of_another_host():
    strategy = make_strategy(num_clients=3, num_hosts=3)
    arrays, metrics = play(strategy, {0: replace_metric(CLIENT, [1])})
    assert metrics["clients-rejected"] == [0]
    assert [(r.client, r.reason) for r in strategy.rejections] == [
        (0, "is missing from the reply of its host"),
        (1, "was not asked to train on that host"),
    ]
    np.testing.assert_allclose(vector(arrays), updates_of([1, 2]).astype(float).mean(0), atol=1e-6)


def test_a_client_that_appears_twice_is_left_out_and_its_neighbours_count():
    strategy = make_strategy(num_clients=6, num_hosts=2)
    _, metrics = play(strategy, {0: replace_metric(CLIENT, [0, 4, 4])})
    assert metrics["clients-rejected"] == [2, 4]
    assert [r.reason for r in strategy.rejections] == [
        "is missing from the reply of its host",
        "has 2 rows in the reply of its host",
    ]
    assert metrics["clients-accepted"] == 4


def test_a_reply_from_a_node_that_was_not_asked_changes_nothing():
    stranger = reply(ask(make_strategy(num_clients=7, num_hosts=7))[6])
    strategy = make_strategy()
    replies = [stranger, *(reply(m) for m in ask(strategy))]
    arrays, metrics = strategy.aggregate_train(1, replies)
    assert metrics["clients-accepted"] == 6
    assert [r.client for r in strategy.rejections] == [6]
    assert vector(arrays).tobytes() == vector(play(make_strategy())[0]).tobytes()


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

    private = CentralDP(clip_norm=1.0, noise_multiplier=0.1, num_clients=6)
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
