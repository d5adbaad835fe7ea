import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from scipy.stats import beta, kstest
from sklearn.datasets import make_moons

from qmoe_fed.config import Config
from qmoe_fed.data import fit_projection, load_clients


def load(clients, **settings):
    """Return the points (raw coordinates), labels and config of Two Moons."""
    config = Config.from_flat({k.replace("_", "-"): v for k, v in settings.items()})
    projection = fit_projection(config)
    data = load_clients(config, clients, projection)
    points = data.train.x.numpy() / np.pi * (projection.high - projection.low) + projection.low
    return points, data.train.y.numpy(), data


def test_without_noise_points_lie_on_the_arcs_of_scikit_learn():
    points, labels, _ = load([0, 1], noise=0, train_samples=200, partition="iid")
    reference, classes = make_moons(20_001, noise=0)
    for label in (0, 1):
        arc = reference[classes == label]
        mine = points[labels == label]
        nearest = np.linalg.norm(mine[:, None] - arc, axis=-1).min(1)
        assert nearest.max() < 3e-4
        # and reach both ends
        assert_allclose([mine.min(0), mine.max(0)], [arc.min(0), arc.max(0)], atol=0.05)


def test_with_noise_the_distribution_is_that_of_scikit_learn():
    points, labels, _ = load(range(50), noise=0.1, train_samples=200, partition="iid")
    reference, classes = make_moons(10_000, noise=0.1, random_state=1)
    assert labels.mean() == pytest.approx(0.5, abs=0.02)
    for label in (0, 1):
        mine, theirs = points[labels == label], reference[classes == label]
        assert_allclose(mine.mean(0), theirs.mean(0), atol=0.03)
        assert_allclose(np.cov(mine.T), np.cov(theirs.T), atol=0.03)


@pytest.mark.parametrize("alpha", [0.05, 0.5, 1.0, 5.0])
def test_class_proportions_follow_the_dirichlet_distribution(alpha):
    _, labels, data = load(
        range(50 + 50), partition="dirichlet", dirichlet_alpha=alpha, train_samples=2000
    )
    share = labels.mean(1)
    # the share in 2000 draws is within ±0.03 of the client's proportion, almost surely
    spread = np.clip(share[:, None] + [-0.03, 0, 0.03], 0, 1)
    low, high = beta(alpha, alpha).cdf(spread[:, 0]), beta(alpha, alpha).cdf(spread[:, 2])
    below = np.sort(low)
    ranks = (np.arange(100) + 0.5) / 100
    assert (below - ranks).max() < 0.16  # Kolmogorov–Smirnov, 1 % level, n = 100
    assert (ranks - np.sort(high)).max() < 0.16
    # test samples come in the same proportions
    assert_allclose(data.test.y.double().mean(1), share, atol=0.3)


@pytest.mark.parametrize("alpha", [1e-300, 1e-6, 1e6, 1e300])
def test_any_positive_alpha_gives_proportions(alpha):
    _, labels, _ = load(range(100), dirichlet_alpha=alpha, num_clients=100)
    share = labels.mean(1)
    if alpha < 1:
        assert set(share) == {0.0, 1.0}
        assert share.mean() == pytest.approx(0.5, abs=0.15)
    else:
        assert_allclose(share, 0.5, atol=0.25)


def test_rotation_turns_each_clients_moons_about_their_centre_by_an_angle_of_its_own():
    settings = {"noise": 0, "train_samples": 100, "num_clients": 200}
    points, labels, _ = load(range(200), partition="rotation", **settings)
    straight, same_labels, _ = load(range(200), partition="iid", **settings)
    np.testing.assert_array_equal(labels, same_labels)
    turned, still = (p - [0.5, 0.25] for p in (points, straight))
    assert_allclose(np.linalg.norm(turned, axis=-1), np.linalg.norm(still, axis=-1), atol=1e-5)
    z = (turned * [1, 1j]).sum(-1) / (still * [1, 1j]).sum(-1)
    assert_allclose(z, z.mean(1, keepdims=True) + 0 * z, atol=1e-4)
    angles = np.angle(z.mean(1)) % (2 * np.pi)
    assert kstest(angles / (2 * np.pi), "uniform").pvalue > 0.01


@pytest.mark.parametrize("partition", ["iid", "dirichlet", "rotation"])
def test_the_bounds_hold_the_moons_and_nearly_all_their_noise(partition):
    _, _, data = load(range(100), partition=partition, noise=0.1)
    edge = (data.train.x == 0) | (data.train.x >= np.float32(np.pi))
    assert edge.float().mean() < 1e-3
    # and are not much too wide either
    assert data.train.x.amin() < 0.1 * np.pi
    assert data.train.x.amax() > 0.9 * np.pi


def test_samples_are_stacked_as_promised():
    _, _, data = load([3, 1], train_samples=5, test_samples=7, unseen_samples="4")
    for samples, size in ((data.train, 5), (data.test, 7)):
        assert samples.x.shape == (2, size, 2)
        assert samples.x.dtype == torch.float32
        assert samples.y.dtype == samples.counts.dtype == torch.int64
        assert samples.counts.tolist() == [size, size]
        assert samples.mask.all()


def test_training_and_test_samples_are_different():
    _, _, data = load([0], train_samples=64, test_samples=64)
    train, test = (set(map(tuple, s.x[0].tolist())) for s in (data.train, data.test))
    assert not train & test
