import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.stats import trim_mean

from qmoe_fed.config import StrategyConfig
from qmoe_fed.errors import UserError
from qmoe_fed.federated.build import make_aggregator
from strategies import TooFewClients, krum, mean, median, trimmed_mean

ROWS = hnp.arrays(
    np.float64,
    st.tuples(st.integers(1, 12), st.integers(0, 4)),
    elements=st.floats(-100, 100).map(lambda value: round(value, 3)),
)


def run(rule, rows, weights=None):
    weights = np.ones(len(rows)) if weights is None else weights
    return rule(torch.from_numpy(rows), torch.from_numpy(weights)).numpy()


def krum_twin(rows, num_byzantine):
    """Blanchard et al. as a loop."""
    scores = []
    for row in rows:
        distances = sorted(
            sum((a - b) ** 2 for a, b in zip(row, other, strict=True)) for other in rows
        )
        scores.append(sum(distances[1 : len(rows) - num_byzantine - 1]))
    return scores


@settings(deadline=None, max_examples=50)
@given(ROWS, st.data())
def test_mean_is_the_weighted_average(rows, data):
    weights = data.draw(hnp.arrays(np.float64, len(rows), elements=st.floats(1, 1000)))
    expected = np.average(rows, axis=0, weights=weights)
    np.testing.assert_allclose(run(mean, rows, weights), expected, atol=1e-9)


@settings(deadline=None, max_examples=50)
@given(ROWS)
def test_median_is_that_of_numpy(rows):
    np.testing.assert_allclose(run(median, rows), np.median(rows, axis=0), atol=1e-12)


@settings(deadline=None, max_examples=50)
@given(ROWS, st.sampled_from([0.0, 0.1, 0.2, 0.25, 0.3, 0.4, 0.49]))
def test_trimmed_mean_is_that_of_scipy(rows, fraction):
    result = run(lambda u, w: trimmed_mean(u, w, trim_fraction=fraction), rows)
    np.testing.assert_allclose(result, trim_mean(rows, fraction, axis=0), atol=1e-9)


def test_trimming_counts_in_whole_clients_despite_floating_point():
    rows = np.arange(100.0)[:, None] ** 2
    result = run(lambda u, w: trimmed_mean(u, w, trim_fraction=0.29), rows)
    assert result == pytest.approx(np.mean(np.arange(29.0, 71.0) ** 2))


def test_trimming_nobody_is_said(caplog):
    outlier = np.array([[1.0], [2.0], [1e6]])
    result = run(lambda u, w: trimmed_mean(u, w, trim_fraction=0.2), outlier)
    assert result == pytest.approx(1000003 / 3)
    assert "trimmed-mean with trim-fraction 0.2 leaves out none of 3 clients" in caplog.text
    caplog.clear()
    run(lambda u, w: trimmed_mean(u, w, trim_fraction=0.0), outlier)
    run(lambda u, w: trimmed_mean(u, w, trim_fraction=0.34), outlier)
    assert not caplog.records


@settings(deadline=None, max_examples=50)
@given(ROWS, st.integers(0, 3))
def test_krum_picks_a_row_of_the_lowest_score(rows, num_byzantine):
    if len(rows) < 2 * num_byzantine + 3:
        with pytest.raises(TooFewClients, match=rf"needs at least {2 * num_byzantine + 3} clients"):
            run(lambda u, w: krum(u, w, num_byzantine=num_byzantine), rows)
        return
    picked = run(lambda u, w: krum(u, w, num_byzantine=num_byzantine), rows)
    scores = krum_twin(rows, num_byzantine)
    best = min(scores)
    near = [r for r, s in zip(rows, scores, strict=True) if s <= best + 1e-9 * (1 + best)]
    assert any(np.array_equal(picked, row) for row in near)


def test_krum_ignores_outliers_that_move_the_mean():
    rows = np.random.Generator(np.random.Philox(0)).normal(size=(9, 5))
    rows[:3] = 1e6
    assert np.abs(run(lambda u, w: krum(u, w, num_byzantine=3), rows)).max() < 5
    assert run(mean, rows).min() > 1e5


@pytest.mark.parametrize("offset", [0.0, 1000.0, 1e6])
def test_krum_sees_small_distances_far_from_zero(offset):
    # Multiples of a power of two, so that adding the offset is exact.
    steps = np.array([0, 7, 1, 30, 3, 11, 60]) * 2.0**-20
    rows = np.stack([steps, -steps, 2 * steps], axis=1)
    expected = int(np.argmin(krum_twin(rows, 1)))
    picked = run(lambda u, w: krum(u, w, num_byzantine=1), rows + offset)
    np.testing.assert_array_equal(picked, rows[expected] + offset)


def test_of_equal_scores_the_first_client_wins():
    rows = np.array([[0.0], [1.0], [2.0], [3.0]])  # the middle two tie
    assert run(lambda u, w: krum(u, w, num_byzantine=0), rows) == 1.0


def test_each_coordinate_is_averaged_over_those_who_trained_it():
    rows = torch.tensor([[1.0, 2.0, 7.0], [3.0, 5.0, 9.0], [8.0, 4.0, 2.0]], dtype=torch.float64)
    weights = torch.tensor([[1.0, 0, 0], [3.0, 3.0, 0], [2.0, 0, 0]], dtype=torch.float64)
    expected = torch.tensor([(1 + 9 + 16) / 6, 5.0, 0.0], dtype=torch.float64)
    torch.testing.assert_close(mean(rows, weights), expected)
    same = torch.tensor([[1.0], [3.0], [2.0]], dtype=torch.float64)
    torch.testing.assert_close(mean(rows, same.expand(3, 3)), mean(rows, same[:, 0]))


@pytest.mark.parametrize(
    "rule",
    [
        median,
        lambda u, w: trimmed_mean(u, w, trim_fraction=0.2),
        lambda u, w: krum(u, w, num_byzantine=0),
    ],
)
def test_the_others_refuse_clients_that_train_different_parameters(rule):
    rows = torch.ones(5, 3, dtype=torch.float64)
    with pytest.raises(UserError, match="clients that all train the same parameters"):
        rule(rows, rows)


def test_a_config_names_its_aggregator():
    rows = np.array([[0.0], [1.0], [2.0], [3.0], [100.0]])

    def built(**settings):
        return run(make_aggregator(StrategyConfig(**settings), 5), rows).item()

    assert built(aggregator="mean") == pytest.approx(21.2)
    assert built(aggregator="median") == 2.0
    assert built(aggregator="trimmed-mean", trim_fraction=0.2) == 2.0
    assert built(aggregator="krum", num_byzantine=1) == 1.0
    assert make_aggregator(StrategyConfig(aggregator="strategies:median"), 5) is median


@pytest.mark.parametrize("name", ["median", "trimmed-mean", "krum"])
def test_weights_that_would_be_ignored_are_refused(name):
    with pytest.raises(UserError, match=f"weighting = 'examples': {name} does not use weights"):
        make_aggregator(StrategyConfig(aggregator=name, weighting="examples"), 50)


def test_krum_on_rounds_that_are_too_small_is_refused_before_they_start():
    settings = StrategyConfig(aggregator="krum", num_byzantine=4)
    make_aggregator(settings, 11)
    with pytest.raises(UserError, match="at least 11 clients in a round, there are 10"):
        make_aggregator(settings, 10)
