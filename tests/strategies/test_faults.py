"""One bad client never changes the result of the others, ends the run, or goes unnamed."""

import numpy as np
import pytest
from faults import VICTIM, check_left_out, metric, put, replace_array, replace_metric
from played_rounds import (
    make_strategy,
    play,
)

from qmoe_fed.federated.flower.messages import CLIENT, EXAMPLES, LOSS

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
