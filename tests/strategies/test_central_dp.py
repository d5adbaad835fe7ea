from functools import partial

import numpy as np
import pytest
import torch
from flwr.serverapp.exception import PrivacyBudgetExhausted
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from played_rounds import SIZE, ask, make_strategy, play, updates_of, vector

from qmoe_fed.config import Config
from qmoe_fed.errors import UserError
from qmoe_fed.federated.flower.messages import Hosts
from qmoe_fed.federated.flower.strategy import make_strategy as from_config
from qmoe_fed.federated.updates import Cohort
from strategies.central_dp import CentralDP as AnyCentralDP
from strategies.gaussian import clip_rows

CentralDP = partial(AnyCentralDP, noise_source="seed")
PRIVATE = {
    "mechanisms": "central-dp",
    "noise-source": "seed",
    "quorum": 0.0,
    "num-clients": 20,
    "num-unseen-clients": 0,
    "clip-norm": 0.5,
    "noise-multiplier": 2.0,
}


def cohort_of(rows) -> Cohort:
    updates = torch.as_tensor(np.asarray(rows, dtype=np.float64))
    ones = torch.ones(len(updates), dtype=torch.float64)
    return Cohort(tuple(range(len(updates))), updates, ones, ones)


def released(mechanism, rows, server_round=1, seed=0):
    def unused(cohort):
        raise AssertionError("central-dp aggregates itself")

    return mechanism.on_server(cohort_of(rows), unused, server_round, seed).numpy()


def build(**settings):
    config = Config.from_flat({**PRIVATE, **{k.replace("_", "-"): v for k, v in settings.items()}})
    return from_config(config, Hosts((100, 101)), frozenset())


def test_clipping_keeps_zeros_and_short_rows():
    rows = torch.tensor([[0.0, 0.0], [0.3, 0.4], [3.0, 4.0]], dtype=torch.float64)
    expected = torch.tensor([[0.0, 0.0], [0.3, 0.4], [0.6, 0.8]], dtype=torch.float64)
    torch.testing.assert_close(clip_rows(rows, 1.0), expected)
    assert clip_rows(rows, 1.0)[:2].equal(rows[:2])


@settings(deadline=None, max_examples=50)
@given(
    hnp.arrays(
        np.float64,
        st.tuples(st.integers(1, 8), st.integers(1, 5)),
        elements=st.floats(-1e6, 1e6, allow_subnormal=False),
    ),
    st.data(),
)
def test_no_client_moves_the_release_by_more_than_its_clip(rows, data):
    mechanism = CentralDP(0.7, 1.0, num_clients=10, sampling_rate=0.5)
    row = data.draw(st.integers(0, len(rows) - 1))
    # The noise of a round is the same, so that the difference is that of the noiseless sums.
    moved = released(mechanism, rows) - released(mechanism, np.delete(rows, row, axis=0))
    assert np.linalg.norm(moved) <= 0.7 / (0.5 * 10) * (1 + 1e-9)


def test_the_noise_of_the_mean_is_what_the_accountant_assumes():
    mechanism = CentralDP(0.5, 3.0, num_clients=40, sampling_rate=0.25)
    rows = np.zeros((7, 50))
    draws = np.stack([released(mechanism, rows, server_round) for server_round in range(400)])
    expected = 3.0 * 0.5 / (0.25 * 40)
    assert draws.std() == pytest.approx(expected, rel=0.02)
    assert draws.mean() == pytest.approx(0, abs=4 * expected / np.sqrt(draws.size))
    each = draws.std(0)
    assert np.abs(each / expected - 1).max() < 4 / np.sqrt(2 * 400)
    assert np.abs(np.corrcoef(draws[:-1].ravel(), draws[1:].ravel())[0, 1]) < 0.03


def test_the_noise_is_a_function_of_seed_and_round():
    mechanism = CentralDP(0.5, 1.0, num_clients=4)
    one = released(mechanism, np.zeros((4, 3)), 1, 0)
    np.testing.assert_array_equal(one, released(mechanism, np.zeros((4, 3)), 1, 0))
    assert not np.isclose(one, released(mechanism, np.zeros((4, 3)), 2, 0)).any()
    assert not np.isclose(one, released(mechanism, np.zeros((4, 3)), 1, 1)).any()


def test_the_denominator_does_not_depend_on_who_answers():
    mechanism = CentralDP(1.0, 1.0, num_clients=20, sampling_rate=0.2)
    noise = released(mechanism, np.zeros((0, 2)))
    two = released(mechanism, [[0.5, 0.0], [0.0, 0.25]])
    np.testing.assert_allclose(two - noise, [0.5 / 4, 0.25 / 4], atol=1e-12)


def test_a_round_of_nobody_still_releases_noise():
    mechanism = CentralDP(1.0, 2.0, num_clients=5, sampling_rate=1e-9)
    strategy = make_strategy(
        5, 5, fraction_train=1e-9, sampling="poisson", quorum=0, mechanisms=[mechanism]
    )
    assert ask(strategy) == []
    arrays, metrics = strategy.aggregate_train(1, [])
    assert metrics["clients-sampled"] == metrics["clients-accepted"] == 0
    assert metrics["round-counted"] == 1
    assert np.abs(vector(arrays)).min() > 0
    assert metrics["epsilon"] >= 0


def test_a_malicious_client_cannot_escape_the_clip():
    def huge(arrays, metrics):
        for values in arrays.values():
            values[:] = 30.0

    private = {"mechanisms": [CentralDP(0.5, 0.5, num_clients=6)], "quorum": 0}
    honest, _ = play(make_strategy(**private))
    attacked, _ = play(make_strategy(**private), {2: huge})
    assert np.linalg.norm(vector(attacked) - vector(honest)) <= 2 * 0.5 / 6 + 1e-6


def test_every_round_counts_and_is_spent_also_when_all_clients_fail():
    strategy = make_strategy(mechanisms=[CentralDP(1.0, 5.0, num_clients=6)], quorum=0)
    _, first = play(strategy)
    arrays, second = play(strategy, dict.fromkeys(range(6), None), server_round=2)
    assert second["round-counted"] == 1
    assert np.linalg.norm(vector(arrays)) > 0
    assert second["epsilon"] > first["epsilon"] > 0


def test_the_spent_epsilon_is_reported_every_round():
    strategy = build(noise_multiplier=5.0)
    spent = []
    for server_round in range(1, 21):
        ask(strategy, server_round)
        spent.append(strategy.aggregate_train(server_round, [])[1]["epsilon"])
    assert spent == sorted(spent)
    assert spent[-1] == pytest.approx(3.8486, abs=0.001)


def test_the_run_ends_before_the_round_that_would_exceed_the_budget():
    strategy = build(noise_multiplier=5.0, max_epsilon=2.0)
    accountant = strategy.mechanisms[0].accountant
    allowed = max(rounds for rounds in range(1, 20) if accountant.epsilon(rounds) <= 2.0)
    assert 1 < allowed < 19
    for server_round in range(1, allowed + 1):
        ask(strategy, server_round)
        _, metrics = strategy.aggregate_train(server_round, [])
    assert metrics["epsilon"] == accountant.epsilon(allowed) <= 2.0
    # Asking again spends nothing and ends the run again.
    for _ in range(2):
        with pytest.raises(
            PrivacyBudgetExhausted,
            match=rf"round {allowed + 1} would spend ε = 2\.\d+ at δ = 1e-05, more than",
        ):
            ask(strategy, allowed + 1)
    assert strategy.mechanisms[0].metrics()["epsilon"] == metrics["epsilon"]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"fraction_train": 0.5}, "accountant holds for sampling = 'poisson'"),
        ({"aggregator": "median"}, "set aggregator = 'mean' and weighting = 'uniform'"),
        ({"aggregator": "strategies:mean"}, r"\(got 'strategies:mean', 'uniform'\)"),
        ({"weighting": "examples"}, r"\(got 'mean', 'examples'\)"),
        ({"quorum": 0.5}, "set quorum = 0 and every round is released"),
        ({"mechanisms": "central-dp, central-dp"}, "must be the last and the only one"),
        ({"mechanisms": "central-dp, strategies:Mechanism"}, "must be the last and the only one"),
        ({"max_epsilon": 0.1}, r"max-epsilon = 0\.1: one round already spends 1\.99\d* with"),
        ({"noise_multiplier": 0.001}, "noise-multiplier = 0.001: must be at least"),
        ({"strategy": "flwr.serverapp.strategy:FedAvg"}, "would ignore mechanisms, quorum"),
    ],
)
def test_what_would_make_the_epsilon_untrue_is_refused(changes, reason):
    with pytest.raises(UserError, match=reason):
        build(**changes)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"fraction_train": 0.5, "sampling": "poisson"},
        {"server_step": "adam"},
        {"mechanisms": "strategies:Mechanism, central-dp"},
        {"max_epsilon": 3.0},
    ],
)
def test_what_keeps_the_epsilon_true_is_allowed(changes):
    strategy = build(**changes)
    mechanism = strategy.mechanisms[-1]
    assert mechanism.denominator == 20 * changes.get("fraction_train", 1)
    assert mechanism.accountant.sampling_rate == changes.get("fraction_train", 1)
    assert (mechanism.clip_norm, mechanism.noise_multiplier) == (0.5, 2.0)


def test_the_whole_round_is_the_clipped_noisy_sum():
    mechanism = CentralDP(0.5, 1.0, num_clients=6)
    arrays, _ = play(make_strategy(seed=9, mechanisms=[mechanism], quorum=0))
    rows = updates_of(range(6)).astype(float)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    noise = released(CentralDP(0.5, 1.0, num_clients=6), np.zeros((6, SIZE)), seed=9)
    expected = (rows * np.minimum(1, 0.5 / lengths)).sum(0) / 6 + noise
    np.testing.assert_allclose(vector(arrays), expected, atol=1e-6)
