import math

import numpy as np
import pytest
from scipy.stats import binom

from strategies.audits.bounds import (
    error_rates,
    gaussian_epsilon,
    lower_bounds,
    one_run_bound,
    plain_bound,
)
from strategies.gaussian import GaussianAccountant

DELTA = 1e-5


def mu_of(epsilon, delta=DELTA):
    low, high = 0.0, 50.0
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if gaussian_epsilon(middle, delta) < epsilon else (low, middle)
    return low


@pytest.mark.parametrize(("rounds", "sigma"), [(1, 1.0), (20, 5.0), (50, 28.6), (10, 0.5)])
def test_gaussian_epsilon_is_the_accountants(rounds, sigma):
    account = GaussianAccountant(sigma, 1.0, DELTA).epsilon(rounds)
    assert gaussian_epsilon(math.sqrt(rounds) / sigma, DELTA) == pytest.approx(account, rel=2e-3)


def test_no_separation_or_the_wrong_one_is_no_epsilon():
    assert gaussian_epsilon(0.0, DELTA) == gaussian_epsilon(-3.0, DELTA) == 0
    assert gaussian_epsilon(1e-6, DELTA) == 0


def test_error_rates_are_the_exact_binomial_limits():
    absent, present = np.arange(100.0), np.arange(100.0) + 90
    false_positive, false_negative = error_rates(absent, present, 95.0, 0.95)
    assert binom.cdf(5, 100, false_positive) == pytest.approx(0.025)
    assert binom.cdf(5, 100, false_negative) == pytest.approx(0.025)
    assert error_rates(absent, present, -1.0, 0.95)[0] == 1
    assert error_rates(absent, present, 200.0, 0.95)[1] == 1


def test_a_bound_by_hand():
    assert plain_bound(0.1, 0.2, 0.3) == pytest.approx(math.log(5))
    assert plain_bound(0.9, 0.5, DELTA) == plain_bound(0.5, 1.0, DELTA) == 0


@pytest.mark.parametrize(
    ("runs", "epsilon", "gaussian", "plain"),
    [(1000, 1, 0.37, 0.11), (1000, 8, 6.96, 2.66), (10_000, 1, 0.8, 0.39), (10_000, 8, 7.69, 3.71)],
)
def test_the_bounds_of_a_gaussian_mechanism(runs, epsilon, gaussian, plain):
    generator = np.random.default_rng(0)
    found = []
    for _ in range(15):
        absent, present = generator.normal(size=(2, runs))
        found.append(lower_bounds(absent, present + mu_of(epsilon), DELTA))
    # a fifth fewer runs judge than those behind the figures
    assert np.median([b.gaussian for b in found]) == pytest.approx(gaussian, abs=0.3)
    assert np.median([b.clopper_pearson for b in found]) == pytest.approx(plain, abs=0.35)
    # 95% each: of 15, two above the truth would be rare
    assert sum(one.gaussian > epsilon for one in found) <= 2
    assert all(one.clopper_pearson < epsilon for one in found)


def test_nothing_is_found_where_nothing_is():
    generator = np.random.default_rng(1)
    found = [lower_bounds(*generator.normal(size=(2, 500)), DELTA) for _ in range(100)]
    assert np.mean([one.gaussian > 0 for one in found]) <= 0.07
    assert np.mean([one.clopper_pearson > 0 for one in found]) <= 0.07
    assert max(one.gaussian for one in found) < 1.2


def test_one_run_is_randomised_response_without_delta():
    for guesses, right in ((100, 80), (1000, 700), (50, 50)):
        epsilon = one_run_bound(right, guesses, 1000, 0.0)
        q = 1 / (1 + math.exp(-epsilon))
        assert binom.sf(right - 1, guesses, q) == pytest.approx(0.05, rel=1e-6)


def test_one_run_with_delta_and_without_success():
    assert one_run_bound(80, 100, 1000, 1e-5) < one_run_bound(80, 100, 1000, 0.0)
    assert one_run_bound(50, 100, 1000, 1e-5) == one_run_bound(0, 100, 1000, 1e-5) == 0
    assert one_run_bound(100, 100, 1000, 1e-5) > 3
