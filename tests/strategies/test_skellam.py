"""Agarwal, Kairouz & Liu, "The Skellam mechanism for differentially private federated learning"."""

import math

import numpy as np
import pytest
from dp_accounting import GaussianDpEvent
from dp_accounting.rdp import RdpAccountant
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from strategies import gaussian, skellam
from strategies.secure_sum.fixed_point import Block, clip_rows
from strategies.skellam import ORDERS, Release


def numbers(variance, shape, seed=0):
    generator, (rows, columns) = np.random.default_rng(seed), shape
    return skellam.noise(variance, lambda attempt: generator.random((rows, 4, columns)))


def test_numbers_are_skellam():
    drawn = numbers(200.0, (100_000, 1)).ravel()
    inside = np.abs(drawn) <= 45
    seen = np.bincount(drawn[inside] + 45, minlength=91)
    expected = stats.skellam.pmf(np.arange(-45, 46), 100, 100)
    assert inside.mean() > 0.99
    assert stats.chisquare(seen, expected / expected.sum() * seen.sum()).pvalue > 0.01


@pytest.mark.parametrize("variance", [2e3, 1e7, 1e13])
def test_numbers_of_large_variance_are_normal_and_independent(variance):
    within = np.random.default_rng(1).uniform(-0.5, 0.5, (20_000, 2))
    drawn = numbers(variance, (20_000, 2)) + within
    drawn /= variance**0.5
    assert stats.kstest(drawn.ravel(), "norm").pvalue > 0.01
    assert drawn.var() == pytest.approx(1, abs=5 * math.sqrt(2 / drawn.size))
    assert abs(np.corrcoef(drawn.T)[0, 1]) < 5 / math.sqrt(len(drawn))


def test_a_client_draws_the_same_whoever_is_beside_it():
    def uniform(attempt, rows=8):
        return np.random.default_rng(attempt).random((8, 4, 50))[:rows]

    alone = skellam.noise(1e4, lambda attempt: uniform(attempt, 3))
    assert (alone == skellam.noise(1e4, uniform)[:3]).all()


def test_numbers_of_the_system_are_others_every_time():
    first, second = (skellam.noise(1e6, lambda _: gaussian.system_uniform(50, 4, 6)) for _ in "ab")
    assert (first != second).mean() > 0.9
    assert first.std() == pytest.approx(1e3, rel=0.2)


@settings(deadline=None, max_examples=40)
@given(
    st.lists(st.lists(st.floats(-1e6, 1e6), min_size=4, max_size=4), min_size=1, max_size=5),
    st.integers(0, 2**20),
)
def test_no_rounded_row_is_longer_than_the_bound(rows, seed):
    values, blocks = np.array(rows), (Block(3, 1.0, 12), Block(1, 0.5, 12))
    generator = np.random.default_rng(seed)
    norm = math.hypot(1.0, 0.5) * 2**12
    bound = skellam.longest(norm, 4)
    assert norm < bound <= norm + 2
    whole = skellam.rounded(values, blocks, bound, lambda _: generator.random(values.shape))
    assert np.linalg.norm(whole, axis=1).max() <= bound
    clipped = np.hstack([clip_rows(values[:, :3], 1.0), clip_rows(values[:, 3:], 0.5)])
    assert np.abs(whole - clipped * 2**12).max() <= 1


def test_rows_that_are_rounded_too_far_are_rounded_again():
    blocks, values = (Block(400, 1.0, 4),), np.full((50, 400), 0.05)
    draws = [np.zeros(values.shape), *np.random.default_rng(0).random((99, *values.shape))]
    asked = []

    def draw(attempt):
        asked.append(attempt)
        return draws[attempt]

    bound = skellam.longest(16.0, 400)
    assert 20 > bound > 16
    whole = skellam.rounded(values, blocks, bound, draw)  # the first draws round all up: norm 20
    assert (np.linalg.norm(whole, axis=1) <= bound).all()
    assert 1 < len(asked) < 30
    assert whole.mean() == pytest.approx(0.8, abs=0.02)


def divergence(order, shift, variance):
    """D_α of shifted and centred Skellam numbers, summed over all of them that matter."""
    k = np.arange(-30 * int(variance**0.5), 30 * int(variance**0.5))
    p, q = (stats.skellam.logpmf(k - s, variance / 2, variance / 2) for s in (shift, 0))
    finite = np.isfinite(p) & np.isfinite(q)
    terms = order * p[finite] + (1 - order) * q[finite]
    return np.logaddexp.reduce(terms) / (order - 1)


@pytest.mark.parametrize(
    ("shift", "variance", "slack"), [(1, 4.0, 2.0), (3, 20.0, 1.35), (20, 1e3, 1.05)]
)
def test_the_bound_is_above_the_divergence_itself_and_near_it(shift, variance, slack):
    bound = Release(float(shift), 1, variance).divergence()
    for order in (2, 4, 8):
        true = divergence(order, shift, variance)
        assert true <= bound[order == ORDERS][0] <= slack * true


@pytest.mark.parametrize(
    ("bits", "size", "epsilon"),
    [(4, 6, 8.37), (8, 6, 8.02), (12, 6, 8.00), (4, 500, 10.68), (8, 500, 8.03), (12, 500, 8.00)],
)
def test_what_a_scale_costs(bits, size, epsilon):
    """Figures of another program, from which the scale was chosen: 50 rounds at σ = 4.51."""
    norm = 2.0**bits
    release = Release(skellam.longest(norm, size), size, (4.51 * norm) ** 2)
    assert skellam.epsilon(((release, 50),), 1e-5) == pytest.approx(epsilon, abs=0.006)


def test_at_a_large_scale_it_is_the_gaussian_of_the_library_and_releases_add_up():
    def of(multiplier):
        return Release(skellam.longest(2.0**24, 6), 6, (multiplier * 2.0**24) ** 2)

    library = RdpAccountant(ORDERS.tolist()).compose(GaussianDpEvent(4.0), 30)
    library.compose(GaussianDpEvent(20.0), 7)
    found = skellam.epsilon(((of(4.0), 30), (of(20.0), 7)), 1e-5)
    assert found == pytest.approx(library.get_epsilon(1e-5), rel=1e-6)
    assert skellam.epsilon(((of(4.0), 0),), 1e-5) == 0
