import numpy as np
import pytest
import torch
from scipy.stats import norm
from test_audit_views import config

from strategies.audits.membership import (
    client_membership,
    likelihood_ratios,
    releases,
    sample_membership,
    separation,
)


def test_separation_by_hand():
    found = separation(np.arange(1000.0), np.arange(1000.0) + 900)
    assert found.auc == pytest.approx(1 - 0.5 * 0.1**2, abs=1e-3)
    assert found.tpr_at_1 == pytest.approx(0.91, abs=2e-3)
    assert found.tpr_at_01 == pytest.approx(0.901, abs=2e-3)
    same = separation(np.arange(1000.0), np.arange(1000.0))
    assert (same.auc, same.tpr_at_1) == pytest.approx((0.5, 0.01), abs=2e-3)


def test_nothing_is_found_where_nothing_is():
    generator = np.random.default_rng(0)
    scores = likelihood_ratios(*generator.normal(size=(2, 4000, 6)))
    found = separation(*scores)
    assert found.auc == pytest.approx(0.5, abs=0.03)
    assert found.tpr_at_1 < 0.02
    assert found.tpr_at_01 < 0.005


def test_the_ratio_of_two_normals_is_the_best_there_is():
    generator = np.random.default_rng(1)
    mixing = generator.normal(size=(3, 3))
    shift = np.array([1.0, 0.0, -1.0])
    absent = generator.normal(size=(4000, 3)) @ mixing
    present = (generator.normal(size=(4000, 3)) + shift) @ mixing
    found = separation(*likelihood_ratios(absent, present))
    assert found.auc == pytest.approx(norm.cdf(np.linalg.norm(shift) / 2**0.5), abs=0.015)


def test_a_sample_among_two_is_found_in_all_parameters_and_noise_hides_it():
    run = {"share": "all", "train_samples": 2, "local_epochs": 5}
    assert sample_membership(config(**run), 3, 300).auc > 0.75
    noise = {"mechanisms": "local-dp", "clip_norm": 0.3, "noise_multiplier": 8.0}
    assert sample_membership(config(**run, **noise), 3, 300).auc == pytest.approx(0.5, abs=0.07)


def test_one_of_two_clients_is_found_and_central_noise_hides_it():
    run = {"num_clients": 2, "share": "all", "dirichlet_alpha": 0.2, "local_epochs": 5}
    assert client_membership(config(**run), 2, 150).auc > 0.75
    noise = {"mechanisms": "central-dp", "clip_norm": 0.3, "noise_multiplier": 30.0}
    assert client_membership(config(**run, **noise), 2, 150).auc == pytest.approx(0.5, abs=0.1)


def test_a_release_is_the_rules_own():
    run, updates = config(num_clients=3), torch.randn(3, 6).double() / 10
    seen = releases(run, [updates, 2 * updates])
    np.testing.assert_allclose(seen[1], 2 * seen[0], atol=1e-12)
    np.testing.assert_allclose(seen[0], updates.mean(0).numpy(), atol=1e-12)
    private = config(num_clients=3, mechanisms="central-dp", noise_multiplier=1.0)
    first, second = releases(private, [updates, updates])
    assert np.abs(first - second).min() > 0
