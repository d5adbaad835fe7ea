import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qmoe_fed.config import DataConfig
from qmoe_fed.data.partitions import partition
from qmoe_fed.errors import UserError


def labels_of(counts, seed=0):
    labels = np.repeat(np.arange(len(counts)), counts)
    return np.random.default_rng(seed).permutation(labels)


def settings(name, **others):
    return DataConfig(dataset="digits", partition=name, **others)


def table(labels, owners, num_clients):
    """Return how many samples of each class each client has, shape (clients, classes)."""
    counts = np.zeros((num_clients, labels.max() + 1), int)
    np.add.at(counts, (owners, labels), 1)
    return counts


@given(
    counts=st.lists(st.integers(0, 40), min_size=1, max_size=6).filter(lambda c: sum(c) >= 2),
    alpha=st.sampled_from([1e-300, 1e-3, 0.05, 1.0, 100.0, 1e308]),
    name=st.sampled_from(["iid", "dirichlet"]),
    seed=st.integers(0, 5),
    data=st.data(),
)
def test_every_sample_has_one_owner_and_all_clients_the_same_number(
    counts, alpha, name, seed, data
):
    labels = labels_of([*counts, 1])
    num_clients = data.draw(st.integers(1, len(labels) // 2))
    owners = partition(labels, num_clients, settings(name, dirichlet_alpha=alpha), seed)
    assert owners.shape == labels.shape
    sizes = np.bincount(owners, minlength=num_clients)
    assert len(sizes) == num_clients
    assert sizes.min() >= 2
    assert sizes.max() - sizes.min() <= 1


def test_the_seed_decides_who_owns_what():
    labels = labels_of([100] * 3)
    for name in ("iid", "dirichlet"):
        a, again, b = (partition(labels, 10, settings(name), seed) for seed in (1, 1, 2))
        np.testing.assert_array_equal(a, again)
        assert (a != b).mean() > 0.5


def test_iid_clients_have_the_classes_of_the_pool():
    labels = labels_of([6000, 3000, 1000])
    shares = table(labels, partition(labels, 10, settings("iid"), 0), 10) / 1000
    np.testing.assert_allclose(shares, np.tile([0.6, 0.3, 0.1], (10, 1)), atol=0.06)


@pytest.mark.parametrize("alpha", [0.05, 0.5, 1.0, 10.0])
def test_dirichlet_proportions_have_the_spread_they_should(alpha):
    classes, num_clients = 5, 400
    labels = labels_of([8000] * classes)
    owners = partition(labels, num_clients, settings("dirichlet", dirichlet_alpha=alpha), 0)
    share = table(labels, owners, num_clients) / 100
    # variance of a Dirichlet share, and of counting it in 100 draws
    mean = 1 / classes
    spread = mean * (1 - mean) / (classes * alpha + 1)
    counting = (mean * (1 - mean) - spread) / 100
    assert share.var(0).mean() == pytest.approx(spread + counting, rel=0.1)
    np.testing.assert_allclose(share.mean(0), mean)  # the whole pool is used


def test_small_alpha_and_two_classes_give_nearly_pure_clients():
    labels = labels_of([500, 500])
    owners = partition(labels, 50, settings("dirichlet", dirichlet_alpha=0.05), 0)
    purity = table(labels, owners, 50).max(1) / 20
    assert np.median(purity) == 1
    assert purity.mean() > 0.9


def test_clients_whose_class_has_run_out_take_what_is_left():
    labels = labels_of([2, 98])
    owners = partition(labels, 2, settings("dirichlet", dirichlet_alpha=1e-9), 3)
    assert table(labels, owners, 2).sum(0).tolist() == [2, 98]


def test_too_many_clients_are_refused_with_the_number_that_fits():
    with pytest.raises(UserError) as error:
        partition(labels_of([10, 11]), 11, settings("dirichlet", public_samples=33), 0)
    assert "num-clients + num-unseen-clients = 11" in str(error.value)
    assert "leaves 21 samples beside the public-samples = 33" in str(error.value)
    assert "at most 10 clients" in str(error.value)
