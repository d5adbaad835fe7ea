import numpy as np
import pytest

from qmoe_fed.errors import UserError
from qmoe_fed.federated.rules import sample_clients, sample_size


def counts(sampling, fraction, rounds=2000, num_clients=20):
    """Return whether each client took part, ``(rounds, num_clients)``."""
    took_part = np.zeros((rounds, num_clients))
    for server_round in range(rounds):
        took_part[
            server_round, sample_clients(num_clients, fraction, sampling, 0, server_round)
        ] = 1
    return took_part


@pytest.mark.parametrize(
    ("num_clients", "fraction", "size"), [(50, 0.1, 5), (50, 1.0, 50), (50, 0.001, 1), (7, 0.5, 4)]
)
def test_a_fixed_sample_has_its_size_and_no_client_twice(num_clients, fraction, size):
    sample = sample_clients(num_clients, fraction, "fixed", seed=3, server_round=1)
    assert len(sample) == sample_size(num_clients, fraction) == size
    assert sample == sorted(set(sample))
    assert set(sample) <= set(range(num_clients))


def test_every_client_is_as_likely_as_any_other():
    for sampling in ("fixed", "poisson"):
        shares = counts(sampling, 0.3).mean(0)
        assert np.abs(shares - 0.3).max() < 4 * np.sqrt(0.3 * 0.7 / 2000)


def test_poisson_samples_are_independent_and_fixed_ones_are_not():
    sizes = counts("poisson", 0.1).sum(1)
    assert sizes.var() == pytest.approx(20 * 0.1 * 0.9, rel=0.1)
    assert np.mean(sizes == 0) == pytest.approx(0.9**20, abs=0.02)
    assert counts("fixed", 0.1, rounds=50).sum(1).tolist() == [2] * 50


def test_all_clients_train_when_the_fraction_is_one():
    assert sample_clients(5, 1.0, "poisson", 0, 1) == [0, 1, 2, 3, 4]
    assert sample_clients(5, 1.0, "fixed", 0, 1) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("sampling", ["fixed", "poisson"])
def test_a_sample_is_a_function_of_seed_and_round(sampling):
    def draw(seed, server_round):
        return sample_clients(100, 0.2, sampling, seed, server_round)

    assert draw(1, 2) == draw(1, 2)
    assert draw(1, 2) != draw(1, 3)
    assert draw(1, 2) != draw(2, 2)


def test_other_ways_of_sampling_are_refused():
    with pytest.raises(UserError, match=r"unknown sampling 'Poisson'\. Did you mean 'poisson'"):
        sample_clients(5, 0.5, "Poisson", 0, 1)
