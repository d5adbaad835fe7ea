import warnings

import numpy as np
import pytest

from qmoe_fed.config import DataConfig
from qmoe_fed.data.partitions import partition
from qmoe_fed.errors import UserError

NAMES = ("pathological", "shard", "inner-dirichlet")
LABELS = np.random.default_rng(0).permutation(np.repeat(np.arange(5), [70, 60, 50, 40, 32]))


def owners_of(name, num_clients, seed=0, labels=LABELS, **settings):
    data = DataConfig(dataset="digits", partition=name, **settings)
    return partition(labels, num_clients, data, seed)


def table(owners, num_clients):
    """Return how many samples of each class each client has, shape (clients, classes)."""
    counts = np.zeros((num_clients, 5), int)
    np.add.at(counts, (owners[owners >= 0], LABELS[owners >= 0]), 1)
    return counts


@pytest.mark.parametrize("name", NAMES)
def test_owners_are_those_flwr_datasets_gives_out_one_client_at_a_time(name):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from datasets import Dataset
        from flwr_datasets import partitioner as flower

        partitioner = {
            "pathological": lambda: flower.PathologicalPartitioner(
                10, "label", 2, "first-deterministic", seed=3
            ),
            "shard": lambda: flower.ShardPartitioner(10, "label", 2, seed=3),
            "inner-dirichlet": lambda: flower.InnerDirichletPartitioner(
                [26, 26] + [25] * 8, "label", 0.5, seed=3
            ),
        }[name]()
        partitioner.dataset = Dataset.from_dict({"label": LABELS, "row": np.arange(len(LABELS))})
        theirs = [sorted(partitioner.load_partition(c)["row"]) for c in range(10)]
    owners = owners_of(name, 10, seed=3, dirichlet_alpha=0.5)
    assert [np.flatnonzero(owners == c).tolist() for c in range(10)] == theirs


@pytest.mark.parametrize("name", NAMES)
def test_the_seed_decides_who_owns_what(name):
    a, again, b = (owners_of(name, 10, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(a, again)
    assert (a != b).any()


def test_pathological_clients_have_exactly_so_many_classes():
    for size in (1, 2, 4):
        counts = table(owners_of("pathological", 15, classes_per_client=size), 15)
        assert ((counts > 0).sum(1) == size).all()
        assert counts.sum() == len(LABELS)


def test_shards_are_of_equal_size_and_the_remainder_is_nobodys():
    owners = owners_of("shard", 10, classes_per_client=2)
    assert np.bincount(owners[owners >= 0]).tolist() == [24] * 10
    assert (owners < 0).sum() == 12
    assert (table(owners, 10) > 0).sum(1).max() <= 4


def test_clients_left_with_too_little_are_refused():
    with pytest.raises(UserError, match="leaves a client with 1 of 252 samples; each of 120"):
        owners_of("pathological", 120, classes_per_client=1, seed=1)


def test_more_shards_than_samples_are_refused():
    with pytest.raises(UserError, match=r"100 clients with .* = 3 shards each need 300 samples"):
        owners_of("shard", 100, classes_per_client=3)


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("pathological", {"num_clients": 120, "classes_per_client": 5}),
        ("inner-dirichlet", {"num_clients": 10, "dirichlet_alpha": 1e-5}),
    ],
)
def test_a_partition_that_cannot_be_made_is_refused_with_what_can(name, settings):
    with pytest.raises(UserError) as error:
        owners_of(name, **settings)
    assert f"partition = '{name}' cannot be made of 252 samples: " in str(error.value)
    assert "Use fewer clients" in str(error.value)
    assert "partition = 'dirichlet'" in str(error.value)
