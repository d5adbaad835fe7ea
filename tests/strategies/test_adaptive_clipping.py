"""Andrew et al., "Differentially private learning with adaptive clipping", 2021."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal, norm

from qmoe_fed.config import Config
from qmoe_fed.errors import UserError
from qmoe_fed.federated.build import make_rules
from qmoe_fed.federated.updates import Cohort
from strategies import CentralDP

PRIVATE = {
    "mechanisms": "central-dp",
    "clip": "adaptive",
    "num-clients": 1000,
    "num-unseen-clients": 0,
    "noise-multiplier": 3.5,
    "quorum": 0.0,
}


def play(mechanism, rows, server_round=1, seed=0):
    updates = torch.as_tensor(np.asarray(rows, dtype=np.float64))
    ones = torch.ones(len(updates), dtype=torch.float64)
    cohort = Cohort(tuple(range(len(updates))), updates, ones, ones)
    return mechanism.on_server(cohort, lambda rest: rest.updates, server_round, seed)


@pytest.mark.parametrize(("clients", "more"), [(1000, 0.001), (50, 0.225)])
def test_what_the_count_costs_the_sum(clients, more):
    z = 1.0 if clients == 1000 else 2.89
    mechanism = CentralDP(1.0, z, clients, clip_quantile=0.5)
    expected = (z**-2 - (2 * clients / 20) ** -2) ** -0.5
    assert mechanism.sum_noise == pytest.approx(expected)
    assert mechanism.sum_noise / z - 1 == pytest.approx(more, abs=0.005)
    assert CentralDP(1.0, z, clients).sum_noise == z


def test_sum_and_count_together_are_one_gaussian_of_the_multiplier_given():
    mechanism = CentralDP(1.0, 1.7, 40, clip_quantile=0.5)
    # a client moves the sum by its norm and the count, which stands at ±1/2, by 1/2
    mu = math.hypot(1 / mechanism.sum_noise, 0.5 / mechanism.count_noise)
    assert mu == pytest.approx(1 / 1.7)


def test_without_noise_the_norm_follows_the_quantile():
    generator = np.random.default_rng(0)
    for quantile in (0.5, 0.8):
        mechanism = CentralDP(1.0, 0.1, 2000, noise_source="seed", clip_quantile=quantile)
        for number in range(1, 151):
            rows = generator.normal(size=(2000, 1)) * 0.02
            play(mechanism, rows, number)
        target = 0.02 * norm.ppf((1 + quantile) / 2)
        assert mechanism.clip_norm == pytest.approx(target, rel=0.1)


def test_one_step_is_the_one_published():
    rows = [[0.3], [0.9], [2.0], [5.0]]
    seeds = range(400)
    norms = []
    for seed in seeds:
        mechanism = CentralDP(1.0, 0.3, 4, noise_source="seed", clip_quantile=0.25)
        play(mechanism, rows, seed=seed)
        norms.append(math.log(mechanism.clip_norm))
    noise = 0.2 * (4 / 20) / 4
    assert np.mean(norms) == pytest.approx(-0.2 * (0.5 - 0.25), abs=4 * noise / 20)
    assert np.std(norms) == pytest.approx(noise, rel=0.15)


def test_a_round_of_nobody_counts_a_half():
    mechanism = CentralDP(1.0, 1e-1, 1000, noise_source="seed", clip_quantile=0.5)
    release = play(mechanism, np.zeros((0, 3)))
    assert release.shape == (3,)
    assert mechanism.clip_norm == pytest.approx(1, abs=0.2 * 4 / 20)


def test_the_noise_follows_the_norm_of_the_round():
    found = []
    for seed in range(300):
        mechanism = CentralDP(1.0, 2.0, 100, noise_source="seed", clip_quantile=0.5)
        mechanism.load_state_dict({"rounds": 3, "clip-norm": 0.25})
        found.append(play(mechanism, np.zeros((100, 4)), 4, seed).numpy())
    expected = mechanism.sum_noise * 0.25 / 100
    assert np.std(found) == pytest.approx(expected, rel=0.07)


def test_the_epsilon_is_that_of_the_fixed_norm_and_the_norm_is_reported_and_remembered():
    adaptive, fixed = CentralDP(1.0, 2.0, 100, clip_quantile=0.5), CentralDP(1.0, 2.0, 100)
    for mechanism in (adaptive, fixed):
        mechanism.before_round(1)
        play(mechanism, np.zeros((100, 2)))
    assert adaptive.metrics()["epsilon"] == fixed.metrics()["epsilon"]
    assert adaptive.metrics()["clip-norm"] < 1
    assert fixed.metrics().keys() == {"epsilon"}
    again = CentralDP(1.0, 2.0, 100, clip_quantile=0.5)
    again.load_state_dict(adaptive.state_dict())
    assert again.metrics() == adaptive.metrics()


def test_the_settings_of_the_config():
    (mechanism,) = make_rules(Config.from_flat({**PRIVATE, "clip-quantile": 0.7})).mechanisms
    assert (mechanism.clip_quantile, mechanism.clip_norm, mechanism.count_noise) == (0.7, 1, 50)
    (fixed,) = make_rules(Config.from_flat({**PRIVATE, "clip": "fixed"})).mechanisms
    assert (fixed.clip_quantile, fixed.sum_noise) == (0, 3.5)


def test_too_few_clients_to_count_are_refused():
    with pytest.raises(UserError, match="30 clients expected in a round: needs more than 35 with"):
        make_rules(Config.from_flat({**PRIVATE, "num-clients": 30}))


def test_the_density_of_both_releases_is_bounded_as_a_gaussians():
    """The log ratio of the densities has the deviation that μ-GDP states."""
    mechanism = CentralDP(1.0, 1.7, 40, clip_quantile=0.5)
    deviations = np.diag([mechanism.sum_noise**2, mechanism.count_noise**2])
    draws = np.random.default_rng(1).multivariate_normal([1, 0.5], deviations, size=20000)
    with_it = multivariate_normal([1, 0.5], deviations).logpdf(draws)
    loss = with_it - multivariate_normal([0, 0], deviations).logpdf(draws)
    assert loss.std() == pytest.approx(1 / 1.7, rel=0.02)
    assert loss.mean() == pytest.approx(0.5 / 1.7**2, abs=0.02)
