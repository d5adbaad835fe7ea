import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import accuracy_score, f1_score

from qmoe_fed.experiments.statistics import (
    accuracy,
    efficiency,
    macro_f1,
    mean_interval,
    run_interval,
)


@given(st.lists(st.floats(0, 1), min_size=2, max_size=12).filter(lambda v: np.ptp(v) > 1e-6))
@settings(max_examples=50)
def test_the_interval_of_the_mean_is_that_of_scipy(values):
    interval = mean_interval(values)
    low, high = stats.t.interval(0.95, len(values) - 1, np.mean(values), stats.sem(values))
    assert interval.mean == pytest.approx(np.mean(values))
    assert (interval.low, interval.high) == (pytest.approx(low), pytest.approx(high))
    assert interval.half == pytest.approx((high - low) / 2)


def test_one_more_run_falls_into_its_interval_in_19_of_20_cases():
    x = np.random.default_rng(0).normal(0.9, 0.03, (4000, 6))
    runs = [run_interval(own) for own in x[:, :5]]
    hits = [run.low <= last <= run.high for run, last in zip(runs, x[:, 5], strict=True)]
    assert np.mean(hits) == pytest.approx(0.95, abs=0.01)


@given(st.integers(2, 5), st.integers(0, 10_000))
@settings(max_examples=40)
def test_accuracy_and_f1_are_those_of_scikit_learn(classes, seed):
    draw = np.random.default_rng(seed)
    y, predicted = draw.integers(classes, size=(2, 3, 17))
    predicted[0] = 0  # classes that are never predicted
    labels = range(classes)
    expected = [
        f1_score(y[k], predicted[k], average="macro", labels=labels, zero_division=0)
        for k in range(3)
    ]
    np.testing.assert_allclose(macro_f1(predicted, y, classes), expected)
    np.testing.assert_allclose(
        accuracy(predicted, y), [accuracy_score(y[k], predicted[k]) for k in range(3)]
    )


def test_eta_is_accuracy_over_the_natural_logarithm():
    # the numbers of the paper's Table I by the paper's own formula
    assert efficiency(0.65, 12) == pytest.approx(0.2534, abs=5e-5)
    assert efficiency(0.93, 240) == pytest.approx(0.1696, abs=5e-5)
    assert efficiency(0.94, 24) == pytest.approx(0.2920, abs=5e-5)
    assert efficiency(1, 1) == pytest.approx(1 / math.log(2))
    assert math.isnan(efficiency(0.9, 0))
