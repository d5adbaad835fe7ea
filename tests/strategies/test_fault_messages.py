"""Messages that are no answer, or speak for others."""

import io

import numpy as np
import pytest
from faults import (
    VICTIM,
    check_left_out,
    replace_metric,
)
from flwr.app import Array, ArrayRecord, Error, Message, MetricRecord, RecordDict
from played_rounds import (
    LAYOUT,
    ask,
    make_strategy,
    play,
    reply,
    updates_of,
    vector,
)

from qmoe_fed.federated.flower.messages import ARRAYS, CLIENT, EXAMPLES, LOSS, METRICS


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
