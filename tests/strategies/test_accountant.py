import math
import subprocess
import sys

import pytest
from scipy.optimize import brentq
from scipy.stats import norm

from qmoe_fed.errors import UserError
from strategies.gaussian import GaussianAccountant


def epsilon_after(rounds, noise_multiplier, sampling_rate=1.0, delta=1e-5):
    return GaussianAccountant(noise_multiplier, sampling_rate, delta).epsilon(rounds)


def gaussian_epsilon(rounds, noise_multiplier, delta=1e-5):
    """Composed Gaussian mechanism, exact: μ-GDP with μ = √T/σ (Dong, Roth & Su, 2022)."""
    mu = math.sqrt(rounds) / noise_multiplier

    def excess(epsilon):
        tail = math.exp(epsilon + norm.logcdf(-epsilon / mu - mu / 2))
        return norm.cdf(-epsilon / mu + mu / 2) - tail - delta

    return brentq(excess, 0, mu**2 / 2 + 20 * mu)


def poisson_epsilon(noise_multiplier, q, delta=1e-5):
    """One round on a Poisson sample, exact: the worse of adding and removing a client.

    (1-q) N(0, σ²) + q N(1, σ²) against N(0, σ²): the log ratio exceeds ε where x > t.
    """
    sigma = noise_multiplier

    def removed(epsilon):
        t = sigma**2 * math.log((math.exp(epsilon) - 1 + q) / q) + 0.5
        mixture = (1 - q) * norm.sf(t / sigma) + q * norm.sf((t - 1) / sigma)
        return mixture - math.exp(epsilon) * norm.sf(t / sigma) - delta

    def added(epsilon):
        if math.exp(-epsilon) <= 1 - q:
            return -delta
        t = sigma**2 * math.log((math.exp(-epsilon) - 1 + q) / q) + 0.5
        mixture = (1 - q) * norm.cdf(t / sigma) + q * norm.cdf((t - 1) / sigma)
        return norm.cdf(t / sigma) - math.exp(epsilon) * mixture - delta

    def root(excess):
        return brentq(excess, 1e-12, 30) if excess(1e-12) > 0 else 0.0

    return max(root(removed), root(added))


@pytest.mark.parametrize(
    ("rounds", "sigma"), [(1, 1.0), (20, 5.0), (30, 0.5), (50, 28.6), (100, 100.0), (30, 0.1)]
)
def test_full_participation_is_the_composed_gaussian(rounds, sigma):
    exact = gaussian_epsilon(rounds, sigma)
    assert exact * (1 - 1e-9) <= epsilon_after(rounds, sigma) <= exact * 1.002


@pytest.mark.parametrize(("sigma", "q"), [(1.0, 0.1), (0.6, 0.01), (5.0, 0.5), (2.0, 1.0)])
def test_one_poisson_round_is_the_mixture_of_two_gaussians(sigma, q):
    exact = poisson_epsilon(sigma, q)
    assert exact * (1 - 1e-9) <= epsilon_after(1, sigma, q) <= exact * 1.002


@pytest.mark.parametrize(
    ("sigma", "q", "rounds"), [(1.0, 0.1, 100), (5.0, 1.0, 20), (2.0, 0.3, 30)]
)
def test_renyi_accounting_is_never_tighter(sigma, q, rounds):
    from dp_accounting import GaussianDpEvent, PoissonSampledDpEvent
    from dp_accounting.rdp import RdpAccountant

    renyi = RdpAccountant().compose(PoissonSampledDpEvent(q, GaussianDpEvent(sigma)), rounds)
    bound = renyi.get_epsilon(1e-5)
    assert 0.8 * bound < epsilon_after(rounds, sigma, q) < bound


@pytest.mark.parametrize(
    ("sigma", "q", "rounds", "epsilon"), [(1.0, 0.1, 100, 7.05), (5.0, 1.0, 20, 3.85)]
)
def test_known_numbers(sigma, q, rounds, epsilon):
    assert epsilon_after(rounds, sigma, q) == pytest.approx(epsilon, abs=0.005)


def test_epsilon_grows_with_the_rounds_and_falls_with_delta():
    spent = [epsilon_after(rounds, 2.0, 0.2) for rounds in (0, 1, 2, 5, 10)]
    assert spent[0] == 0
    assert spent == sorted(set(spent))
    assert epsilon_after(5, 2.0, 0.2, delta=1e-3) < epsilon_after(5, 2.0, 0.2, delta=1e-9)


@pytest.mark.parametrize("sigma", [1e-9, 0.009])
def test_next_to_no_noise_is_refused(sigma):
    with pytest.raises(UserError, match=r"noise-multiplier = .*: must be at least 0\.01"):
        GaussianAccountant(sigma, 1.0, 1e-5)


def test_the_accounting_library_is_imported_only_when_it_is_used():
    code = (
        "import sys; from qmoe_fed.config import Config; from strategies import make_mechanisms\n"
        "make_mechanisms(Config.from_flat({'mechanisms': 'central-dp'}))\n"
        "assert 'dp_accounting' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
