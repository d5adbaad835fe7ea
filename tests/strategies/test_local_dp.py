import numpy as np
import pytest
import torch
from flwr.serverapp.exception import PrivacyBudgetExhausted
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from qmoe_fed.config import Config
from qmoe_fed.errors import UserError
from qmoe_fed.federated import Federation
from qmoe_fed.federated.build import make_rules
from qmoe_fed.federated.rules import sample_clients
from strategies import LocalDP
from strategies.gaussian import GaussianAccountant, clip_rows, system_noise

PRIVATE = {
    "expert-fit": "gradient",
    "mechanisms": "local-dp",
    "num-clients": 12,
    "num-unseen-clients": 0,
    "train-samples": 8,
    "local-epochs": 1,
    "clip-norm": 0.5,
    "noise-multiplier": 4.0,
}
ALL = (12, 1.0, "fixed", 0)


def chain(**changes):
    flat = {**PRIVATE, **{key.replace("_", "-"): value for key, value in changes.items()}}
    return make_rules(Config.from_flat(flat)).mechanisms


def build(**changes):
    return chain(**changes)[-1]


def sent(mechanism, rows, server_round=1, seed=0, clients=None):
    updates = torch.as_tensor(np.asarray(rows, dtype=np.float64))
    clients = range(len(updates)) if clients is None else clients
    return mechanism.on_client(updates, clients, server_round, seed)


@settings(deadline=None, max_examples=50)
@given(
    hnp.arrays(np.float64, (2, 5), elements=st.floats(-1e6, 1e6, allow_subnormal=False)),
)
def test_whatever_a_client_has_moves_its_update_by_two_clips_at_most(rows):
    mechanism = LocalDP(0.7, 1.0, ALL, noise_source="seed")
    one, other = (sent(mechanism, rows[k : k + 1], clients=[3]) for k in (0, 1))
    assert float((one - other).norm()) <= 2 * 0.7 * (1 + 1e-9)


def test_each_client_adds_noise_of_its_own_in_every_round():
    for source in ("system", "seed"):
        mechanism = LocalDP(0.5, 3.0, ALL, noise_source=source)
        draws = torch.stack([sent(mechanism, np.zeros((400, 5)), t) for t in range(1, 11)])
        assert float(draws.std()) == pytest.approx(1.5, rel=0.02)
        assert abs(float(draws.mean())) < 4 * 1.5 / draws.numel() ** 0.5
        pairs = (draws[:, :-1], draws[:, 1:]), (draws[:-1], draws[1:])
        pairs += ((draws[..., :-1], draws[..., 1:]),)
        for a, b in pairs:
            both = torch.stack([a.flatten(), b.flatten()])
            assert abs(float(torch.corrcoef(both)[0, 1])) < 4 / a.numel() ** 0.5


def test_the_seed_repeats_the_noise_and_the_system_never_does():
    zeros = np.zeros((3, 4))
    seeded, system = (LocalDP(1.0, 1.0, ALL, noise_source=s) for s in ("seed", "system"))
    assert sent(seeded, zeros).equal(sent(seeded, zeros))
    assert not (sent(seeded, zeros) == sent(seeded, zeros, server_round=2)).any()
    assert not (sent(system, zeros) == sent(system, zeros)).any()
    assert LocalDP(1.0, 1.0, ALL).noise_source == build().noise_source == "system"
    alone = sent(seeded, zeros[:1], clients=[2])
    assert alone.equal(sent(seeded, zeros)[2:])  # whoever is beside it


def test_system_noise_is_normal():
    draws = system_noise(200, 500).flatten()
    for below, share in ((-2.0, 0.02275), (-1.0, 0.15866), (0.0, 0.5), (1.5, 0.93319)):
        found = float((draws < below).double().mean())
        assert found == pytest.approx(share, abs=5 * (share * (1 - share) / 1e5) ** 0.5)
    assert system_noise(0, 3).shape == (0, 3)


def test_short_updates_keep_their_length():
    rows = np.array([[0.3, 0.4], [3.0, 4.0]])
    mechanism = LocalDP(1.0, 0.02, ALL, noise_source="seed")
    noise = sent(mechanism, np.zeros((2, 2)))
    clipped = sent(mechanism, rows) - noise
    torch.testing.assert_close(clipped, clip_rows(torch.from_numpy(rows), 1.0))


def test_replacing_all_that_a_client_has_is_a_gaussian_of_half_the_multiplier():
    mechanism = build()
    for server_round in range(1, 6):
        mechanism.before_round(server_round)
    expected = GaussianAccountant(2.0, 1.0, 1e-5).epsilon(5)
    assert mechanism.metrics() == {
        "epsilon": pytest.approx(expected),
        "epsilon-mean": pytest.approx(expected),
        "epsilon-round": GaussianAccountant(2.0, 1.0, 1e-5).epsilon(1),
    }


def test_a_client_spends_only_in_its_own_rounds():
    mechanism = build(fraction_train=0.25, seed=3)
    rounds = [sample_clients(12, 0.25, "fixed", 3, number) for number in range(1, 5)]
    for number in range(1, 5):
        mechanism.before_round(number)
    counts = [sum(client in clients for clients in rounds) for client in range(12)]
    assert mechanism.spent.tolist() == counts
    assert 0 in counts
    account = mechanism.accountant.epsilon
    found = mechanism.metrics()
    assert found["epsilon"] == pytest.approx(account(max(counts)))
    assert found["epsilon-mean"] == pytest.approx(np.mean([account(n) for n in counts]))


def test_the_run_ends_before_anybody_exceeds_the_budget():
    limit = GaussianAccountant(2.0, 1.0, 1e-5).epsilon(2) + 1e-6
    mechanism = build(max_epsilon=limit)
    mechanism.before_round(1)
    mechanism.before_round(2)
    for _ in range(2):
        with pytest.raises(PrivacyBudgetExhausted, match="round 3 would spend ε = "):
            mechanism.before_round(3)
    assert mechanism.metrics()["epsilon"] <= limit


def test_a_resumed_run_knows_what_was_spent():
    first, second = build(fraction_train=0.5), build(fraction_train=0.5)
    first.before_round(1)
    second.load_state_dict(first.state_dict())
    first.before_round(2)
    second.before_round(2)
    assert first.spent.equal(second.spent)


def test_what_leaves_the_host_is_noisy_and_what_the_server_makes_of_it_is_their_mean():
    federation = Federation(Config.from_flat({**PRIVATE, "noise-source": "seed"}))
    state = federation.init()
    _, cohort = federation.host.train(state.kept, state.shared, range(12), 1)
    noise = 2.0 * torch.from_numpy(
        sent(LocalDP(0.5, 4.0, ALL, noise_source="seed"), np.zeros((12, 6))).numpy() / 2.0
    )
    lengths = torch.linalg.vector_norm(cohort.updates - noise, dim=1)
    assert float(lengths.max()) <= 0.5 + 1e-5
    after, report = federation.round(state)
    assert report.metrics["epsilon"] == pytest.approx(
        federation.rules.mechanisms[0].accountant.epsilon(1)
    )
    assert all(values.isfinite().all() for values in after.shared.values())


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"mechanisms": "local-dp, central-dp", "quorum": 0.0}, "'local-dp' must be the last"),
        ({"mechanisms": "local-dp, strategies:Mechanism"}, "'local-dp' must be the last"),
        ({"mechanisms": "local-dp, distributed-dp"}, "others would clip its noise"),
        ({"mechanisms": "secure-sum, local-dp"}, "'secure-sum' cannot go with another|the last"),
        ({"clip": "adaptive"}, "a client does not learn the server's norm"),
        ({"weighting": "examples"}, "does not protect how many samples"),
        ({"resume": True}, "would be sent again with other noise"),
        ({"noise_multiplier": 100.0}, "as long as 423; set max-update-norm = 424"),
        ({"max_epsilon": 0.1}, r"one round already spends 1\.9\d+ with noise-multiplier = 4"),
        ({"noise_multiplier": 0.01}, "local-dp needs at least 0.02"),
    ],
)
def test_what_would_make_the_epsilon_untrue_is_refused(changes, reason):
    with pytest.raises(UserError, match=reason):
        build(**changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"mechanisms": "strategies:Mechanism, local-dp"},
        {"fraction_train": 0.5},
        {"aggregator": "median"},
        {"resume": True, "noise_source": "seed"},
        {"noise_multiplier": 100.0, "max_update_norm": 424.0},
        {"mechanisms": "local-dp, secure-sum", "noise_multiplier": 100.0},
    ],
)
def test_what_keeps_the_epsilon_true_is_allowed(changes):
    *_, mechanism = [m for m in chain(**changes) if isinstance(m, LocalDP)]
    assert mechanism.noise_multiplier == changes.get("noise_multiplier", 4.0)


def test_in_a_secure_sum_noise_is_not_clipped_and_the_epsilon_is_the_same():
    settings = {**PRIVATE, "noise-source": "seed", "noise-multiplier": 9.0}
    alone, summed = (
        Federation(Config.from_flat({**settings, "mechanisms": names}))
        for names in ("local-dp", "local-dp, secure-sum")
    )
    (first, one), (second, other) = (f.round(f.init()) for f in (alone, summed))
    for name, values in first.shared.items():
        torch.testing.assert_close(values, second.shared[name], rtol=0, atol=1e-6)
    assert other.metrics["epsilon"] == one.metrics["epsilon"]
