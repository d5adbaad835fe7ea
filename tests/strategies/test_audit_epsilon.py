"""The audit stays below what is claimed, comes near it, and catches what is broken."""

from dataclasses import replace
from functools import cache, partial

import numpy as np
import pytest
import torch
from scipy.optimize import brentq

from qmoe_fed.config import Config
from qmoe_fed.federated.build import make_rules
from strategies import CentralDP, LocalDP, Mechanism
from strategies.audits import epsilon as audits
from strategies.audits.epsilon import (
    CANARIES,
    audit_one_run,
    audit_releases,
    audit_sent,
    audit_sums,
)
from strategies.audits.utility import stated
from strategies.gaussian import GaussianAccountant, seeded_noise

DELTA = 1e-5


@cache
def noise_for(epsilon, rounds=1):
    def excess(sigma):
        return GaussianAccountant(sigma, 1.0, DELTA).epsilon(rounds) - epsilon

    return brentq(excess, 0.3, 60, xtol=1e-3)


def rules_of(mechanisms, clients=3, **changes):
    flat = {"num-clients": clients, "num-unseen-clients": 0, "quorum": 0.0, **changes}
    return replace(make_rules(Config.from_flat(flat)), mechanisms=tuple(mechanisms))


def central(kind=CentralDP, clients=3, **options):
    return rules_of([kind(0.7, num_clients=clients, noise_source="seed", **options)], clients)


class Unclipped(CentralDP):
    """Forgets to clip."""

    def on_server(self, cohort, aggregate, server_round, seed):
        noise = self._noise("central-dp", cohort.updates.shape[1], server_round, seed)
        total = cohort.updates.sum(0) + self.noise_multiplier * self.clip_norm * noise
        return total / self.denominator


class Repeating(CentralDP):
    """Draws the same noise in every round."""

    def _noise(self, purpose, size, server_round, seed):
        return seeded_noise(seed, purpose, size, 0)


class HalfTheNoise(CentralDP):
    """Adds half of what is accounted for."""

    def __post_init__(self):
        super().__post_init__()
        self.sum_noise /= 2


class LocalRepeating(LocalDP):
    """Draws the same noise in every round."""

    def on_client(self, updates, clients, server_round, seed):
        return super().on_client(updates, clients, 0, seed)


class LocalUnclipped(LocalDP):
    """Forgets to clip."""

    def on_client(self, updates, clients, server_round, seed):
        return updates + super().on_client(torch.zeros_like(updates), clients, server_round, seed)


class LocalAddRemove(LocalDP):
    """Accounts for sensitivity C where it is 2C: half the noise."""

    def on_client(self, updates, clients, server_round, seed):
        silence = super().on_client(torch.zeros_like(updates), clients, server_round, seed)
        return super().on_client(updates, clients, server_round, seed) - silence / 2


def local(kind=LocalDP, noise=4.0):
    return kind(0.7, noise, (3, 1.0, "fixed", 0), noise_source="seed")


def test_canaries():
    assert audits.canary("constant", 3).tolist() == [1, 1, 1]
    assert audits.canary("alternating", 4).tolist() == [1, -1, 1, -1]
    assert audits.canary("single-round", 3).tolist() == [0, 1, 0]
    assert float(audits.direction(6).norm()) == pytest.approx(1)


def test_near_the_claim_at_epsilon_8():
    rules = central(noise_multiplier=noise_for(8.0))
    found = audit_releases(rules, DELTA, "constant", runs=10_000)
    assert 0.9 * 8 <= found.gaussian <= 8
    assert 3 <= found.clopper_pearson <= 8


@pytest.mark.parametrize("kind", CANARIES)
def test_below_the_claim_over_several_rounds(kind):
    rules = central(noise_multiplier=noise_for(4.0, 3))
    found = audit_releases(rules, DELTA, kind, rounds=3, runs=400)
    assert found.gaussian <= 4
    if kind != "single-round":  # which spends one round of three
        assert found.gaussian >= 2


def test_below_the_claim_with_an_adaptive_norm():
    rules = central(clients=60, noise_multiplier=noise_for(8.0, 2), clip_quantile=0.5)
    for kind in ("constant", "alternating"):
        found = audit_releases(rules, DELTA, kind, rounds=2, runs=400)
        assert 4 <= found.gaussian <= 8


def test_a_sum_is_as_private_as_its_noise():
    none = {"corrupt-fraction": 0.0, "dropout-fraction": 0.0, "evaluate-every": 1000}
    few = {"num-clients": 3, "num-unseen-clients": 0, "noise-source": "seed", "clip-norm": 0.3}
    noisy = {"mechanisms": "distributed-dp", "score-noise": 1000.0, "noise-multiplier": 0.638}
    config = Config.from_flat({**none, **few, **noisy})
    assert stated(config, 1) == pytest.approx(8, abs=0.01)
    found = audit_sums(config, "constant", runs=60)
    assert 1.5 <= found.gaussian <= 8
    exact = Config.from_flat({**none, **few, "mechanisms": "secure-sum", "quorum": 0.0})
    seen = audits.summed(exact, audits.canary("alternating", 2), True, 1)
    size = seen.shape[-1]
    expected = torch.tensor([0.1, -0.1]).unsqueeze(1) * audits.direction(size)
    torch.testing.assert_close(seen[0], expected, rtol=0, atol=1e-6)


def test_a_sample_of_the_clients_hides_the_canary_as_is_claimed():
    mechanism = CentralDP(0.7, 0.8, 20, 0.25, noise_source="seed")
    rules = rules_of([mechanism], 20, **{"fraction-train": 0.25, "sampling": "poisson"})
    found = audit_releases(rules, DELTA, "constant", runs=1500)
    assert found.gaussian < mechanism.accountant.epsilon(1)
    full = GaussianAccountant(0.8, 1.0, DELTA).epsilon(1)
    assert mechanism.accountant.epsilon(1) < full


@pytest.mark.parametrize(
    ("broken", "kind"),
    [(Unclipped, "constant"), (Repeating, "alternating"), (HalfTheNoise, "constant")],
)
def test_broken_central_mechanisms_are_caught(broken, kind):
    rules = central(broken, noise_multiplier=noise_for(4.0, 2))
    assert audit_releases(rules, DELTA, kind, rounds=2, runs=300).gaussian > 4.4


def test_a_single_canary_would_not_do():
    rules = central(Repeating, noise_multiplier=noise_for(4.0, 2))
    assert audit_releases(rules, DELTA, "constant", rounds=2, runs=300).gaussian < 4


@pytest.mark.parametrize("kind", CANARIES)
def test_local_dp_is_below_its_claim_and_near_it(kind):
    mechanism = local(noise=2 * noise_for(8.0, 4))
    found = audit_sent([mechanism], DELTA, kind, rounds=4, runs=10_000)
    assert found.gaussian <= 8
    if kind != "single-round":
        assert found.gaussian >= 0.9 * 8


@pytest.mark.parametrize(
    ("broken", "kind"),
    [(LocalUnclipped, "constant"), (LocalRepeating, "alternating"), (LocalAddRemove, "constant")],
)
def test_broken_local_mechanisms_are_caught(broken, kind):
    mechanism = local(broken, 2 * noise_for(4.0, 4))
    assert audit_sent([mechanism], DELTA, kind, rounds=4, runs=1000).gaussian > 4.4


def test_without_a_mechanism_everything_is_seen():
    assert audit_sent([Mechanism()], DELTA, "constant", runs=1000).clopper_pearson > 5
    assert audit_releases(rules_of([]), DELTA, "constant", runs=300).gaussian > 10


def test_nothing_is_found_where_nothing_is_sent():
    class Silent(Mechanism):
        def on_client(self, updates, clients, server_round, seed):
            noise = np.random.default_rng([seed, server_round]).normal(size=tuple(updates.shape))
            return torch.from_numpy(noise)

    for kind in CANARIES:
        found = audit_sent([Silent()], DELTA, kind, rounds=3, runs=2000)
        assert found.gaussian < 0.3
        assert found.clopper_pearson < 0.3


def test_one_run_is_below_the_claim_and_not_far():
    for claim, least in ((1.0, 0.0), (8.0, 2.0)):
        rules = central(clients=1000, noise_multiplier=noise_for(claim))
        found = [audit_one_run(rules, DELTA, seed=seed) for seed in range(5)]
        assert max(found) <= claim
        assert np.median(found) >= least
    broken = central(partial(Unclipped), 1000, noise_multiplier=noise_for(1.0))
    assert audit_one_run(broken, DELTA) > 2
