import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qmoe_fed import rng


def test_a_client_draws_the_same_numbers_alone_and_in_company():
    together = rng.uniform(7, "data", [0, 5, 9], (4, 2), server_round=3)
    alone = rng.uniform(7, "data", [5], (4, 2), server_round=3)
    np.testing.assert_array_equal(together[1], alone[0])


@pytest.mark.parametrize("other", [(8, "data", 1), (7, "init", 1), (7, "data", 2)])
def test_seed_purpose_and_round_each_change_the_stream(other):
    seed, purpose, server_round = other
    a = rng.uniform(7, "data", [0], (100,), 1)
    b = rng.uniform(seed, purpose, [0], (100,), server_round)
    assert abs(np.corrcoef(a, b)[0, 1]) < 0.35
    assert not np.array_equal(a, b)


def test_the_streams_have_the_moments_they_claim():
    u = rng.uniform(0, "u", np.arange(1000), (200,))
    z = rng.normal(0, "z", np.arange(1000), (200,))
    assert u.min() >= 0
    assert u.max() < 1
    assert u.mean() == pytest.approx(0.5, abs=0.002)
    assert u.var() == pytest.approx(1 / 12, abs=0.001)
    assert z.mean() == pytest.approx(0, abs=0.01)
    assert z.var() == pytest.approx(1, abs=0.01)
    assert (z**4).mean() == pytest.approx(3, abs=0.06)
    # neighbouring clients and neighbouring draws are uncorrelated
    assert abs(np.corrcoef(u[:-1].ravel(), u[1:].ravel())[0, 1]) < 0.01
    assert abs(np.corrcoef(u[:, :-1].ravel(), u[:, 1:].ravel())[0, 1]) < 0.01


@given(st.lists(st.integers(0, 12), min_size=1, max_size=6), st.integers(1, 3))
def test_permutation_shuffles_each_clients_own_rows_and_pads_after_them(counts, repeats):
    order = rng.permutation(1, "batches", range(len(counts)), np.array(counts), repeats)
    assert order.shape == (len(counts), repeats, max(counts))
    for client, count in enumerate(counts):
        for row in order[client]:
            assert sorted(row[:count]) == list(range(count))
            assert list(row[count:]) == list(range(count, max(counts)))
        alone = rng.permutation(1, "batches", [client], np.array([count]), repeats)
        np.testing.assert_array_equal(alone[0], order[client, :, :count])


def test_generator_is_reproducible_and_separate_per_client():
    draw = [rng.generator(1, "noise", c, 2).normal() for c in (0, 0, 1)]
    assert draw[0] == draw[1] != draw[2]
