"""Faults of clients, and what a round with one of them must come to."""

import re

import numpy as np
import pytest
from played_rounds import (
    examples_of,
    play,
    updates_of,
    vector,
)

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


def replace_array(name, values):
    def edit(arrays, metrics):
        arrays[name] = values

    return edit


def replace_metric(name, values):
    def edit(arrays, metrics):
        metrics[name] = values

    return edit


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
