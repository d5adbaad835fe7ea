import numpy as np
import pytest
import torch
from scipy.stats import norm
from test_audit_views import config

from qmoe_fed.federated import Federation
from strategies.audits.membership import (
    changes,
    client_membership,
    likelihood_ratios,
    sample_membership,
    separation,
)
from strategies.audits.views import samples_of


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
    assert client_membership(config(**run), 1, 120)[0].auc > 0.75
    noise = {"mechanisms": "central-dp", "clip_norm": 0.3, "noise_multiplier": 30.0}
    assert client_membership(config(**run, **noise), 1, 120)[0].auc == pytest.approx(0.5, abs=0.1)


def test_rounds_add_up_and_without_a_difference_there_is_nothing_to_add():
    run = {"num_clients": 3, "share": "all", "dirichlet_alpha": 0.3, "local_epochs": 1}
    one, _, three = client_membership(config(**run), 1, 100, 3)
    assert one.auc > 0.6
    assert three.auc > one.auc
    alike = {"num_clients": 2, "learning_rate": 1e-12, "local_epochs": 1}
    assert client_membership(config(**alike), 1, 60, 3)[-1].auc == pytest.approx(0.5, abs=0.15)


@pytest.mark.parametrize("way", [{}, {"share": "prior"}, {"share": "all"}])
def test_changes_are_those_of_federations(way):
    kind = {} if way.get("share") == "all" else {"expert_fit": "solve"}
    run = config(num_clients=3, **kind, **way)
    federation = Federation(run)
    state, layout = federation.init(), federation.model.layout
    samples, expected = samples_of(run, range(3)), []
    for _ in range(2):
        before = layout.flat(state.shared)
        state, _ = federation.round(state)
        expected.append(layout.flat(state.shared) - before)
    twice = samples.select(torch.arange(3).repeat(2))
    found = changes(run, twice, 2, 2)
    for seen, change in zip(found, expected, strict=True):
        np.testing.assert_allclose(seen[0], change.numpy(), atol=1e-4)
        assert seen.shape == (2, layout.size)


def test_every_world_has_noise_of_its_own():
    run = config(num_clients=3, mechanisms="central-dp", noise_multiplier=1.0)
    samples = samples_of(run, range(3)).select(torch.arange(3).repeat(2))
    first, second = changes(run, samples, 2, 1)[0]
    assert np.abs(first - second).min() > 0


@pytest.mark.parametrize("share", ["router", "prior"])
def test_solved_experts_tell_a_wrong_label_and_hardly_a_usual_sample(share):
    run = config(expert_fit="solve", share=share, train_samples=16, local_epochs=5)
    wrong, usual = (
        sample_membership(run, 2, 300, mislabelled).auc for mislabelled in (True, False)
    )
    assert wrong > 0.75
    assert 0.4 < usual < 0.66
