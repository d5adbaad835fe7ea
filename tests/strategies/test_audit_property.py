import numpy as np
import pytest
import torch
from test_audit_views import config

from strategies.audits.property import label_r2
from strategies.audits.views import class_shares, sent_in_rounds


def planted(make, clients=300, size=4, noise=0.0):
    generator = np.random.default_rng(0)
    x = generator.normal(size=(clients, size))
    share = make(x) + noise * generator.normal(size=clients)
    return x, np.stack([1 - share, share], 1)


def test_nothing_is_found_where_nothing_is():
    generator = np.random.default_rng(1)
    for size in (4, 30, 100):
        x, y = generator.normal(size=(300, size)), generator.random((300, 2))
        assert label_r2(x, y) < 0.05
        assert label_r2(x, generator.permutation(y)) < 0.05


@pytest.mark.parametrize(
    ("make", "r2"), [(lambda x: x @ [1, 2, 0, 1], 0.99), (lambda x: x[:, 0] * x[:, 1], 0.99)]
)
def test_what_is_there_is_found(make, r2):
    assert label_r2(*planted(make)) > r2


def test_half_of_the_variance_is_half():
    assert label_r2(*planted(lambda x: x[:, 0], 3000, noise=1.0)) == pytest.approx(0.5, abs=0.05)


def test_rounds_add_up():
    x, y = planted(lambda x: x @ [1, 1, 1, 1])
    rounds = np.stack([x * [1, 1, 0, 0], x * [0, 0, 1, 1]])
    assert label_r2(rounds, y) > 0.99
    assert label_r2(rounds[0], y) == pytest.approx(0.5, abs=0.1)
    assert label_r2(torch.from_numpy(rounds), torch.from_numpy(y)) > 0.99


def test_all_parameters_tell_the_labels_and_local_noise_hides_them():
    run = config(num_clients=200, dirichlet_alpha=0.5, share="all")
    assert label_r2(sent_in_rounds(run, 1)[0], class_shares(run)) > 0.7
    noise = {"mechanisms": "local-dp", "noise_multiplier": 8.0}
    private = config(num_clients=200, dirichlet_alpha=0.5, share="all", **noise)
    assert label_r2(sent_in_rounds(private, 1)[0], class_shares(private)) < 0.1


@pytest.mark.parametrize("share", ["router", "prior"])
def test_solved_experts_tell_the_labels_too_and_local_noise_hides_them(share):
    run = {"num_clients": 200, "dirichlet_alpha": 0.5, "share": share, "expert_fit": "solve"}
    seen, shares = sent_in_rounds(config(**run), 1)[0], class_shares(config(**run))
    assert label_r2(seen, shares) > 0.3
    assert label_r2(seen, shares.roll(1, 0)) < 0.1  # those of others
    noise = {"mechanisms": "local-dp", "noise_multiplier": 8.0, "max_update_norm": 1e3}
    assert label_r2(sent_in_rounds(config(**run, **noise), 1)[0], shares) < 0.1
