"""What holds for the data of clients whatever the source and the partition."""

from functools import cache

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial import KDTree
from sklearn.datasets import load_digits

from qmoe_fed.config import Config
from qmoe_fed.data import Shape, fit_projection, load_clients, shape_of
from qmoe_fed.data.shares import _split
from qmoe_fed.errors import UserError

SOURCES = {
    "moons-iid": {"dataset": "moons", "partition": "iid"},
    "moons-dirichlet": {"dataset": "moons", "partition": "dirichlet", "dirichlet-alpha": 0.05},
    "moons-rotation": {"dataset": "moons", "partition": "rotation"},
    "moons-concept": {"dataset": "moons", "partition": "concept-shift"},
    "digits-iid": {"dataset": "digits", "partition": "iid"},
    "digits-dirichlet": {"dataset": "digits", "partition": "dirichlet", "dirichlet-alpha": 0.1},
    "digits-concept": {"dataset": "digits", "partition": "concept-shift", "concept-groups": 3},
    "digits-pathological": {"dataset": "digits", "partition": "pathological"},
    "digits-shard": {"dataset": "digits", "partition": "shard", "classes": "5,6,7"},
}


def config_of(source, **others):
    common = {"num-clients": 20, "num-unseen-clients": 10, "qubits": 4, "seed": 3}
    return Config.from_flat(common | SOURCES[source] | others)


def rows(samples):
    """Return each client's own samples as a set of (x, y) tuples."""
    return [
        list(map(tuple, torch.cat([x[:n], y[:n, None]], -1).tolist()))
        for x, y, n in zip(samples.x, samples.y, samples.counts, strict=True)
    ]


@cache
def everyone(source):
    config = config_of(source)
    projection = fit_projection(config)
    data = load_clients(config, range(30), projection)
    return config, projection, rows(data.train), rows(data.test)


@pytest.mark.parametrize("source", SOURCES)
@given(clients=st.lists(st.integers(0, 29), min_size=0, max_size=5))
@settings(max_examples=10, deadline=None)
def test_a_clients_data_do_not_depend_on_whom_it_is_loaded_with(source, clients):
    config, projection, train, test = everyone(source)
    some = load_clients(config, clients, projection)
    assert rows(some.train) == [train[c] for c in clients]
    assert rows(some.test) == [test[c] for c in clients]


@pytest.mark.parametrize("source", SOURCES)
def test_angles_classes_and_padding_are_in_range(source):
    config = config_of(source)
    data = load_clients(config, range(30), fit_projection(config))
    shape = shape_of(config)
    for samples in (data.train, data.test):
        assert samples.x.shape[-1] == shape.features
        assert samples.x.min() >= 0
        assert samples.x.max() <= np.float32(np.pi)
        assert samples.y.max() < shape.classes
        assert samples.counts.min() >= 1
        assert samples.counts.max() == samples.x.shape[1]
        assert not samples.x[~samples.mask].any()
        assert not samples.y[~samples.mask].any()


@pytest.mark.parametrize("source", SOURCES)
def test_the_seed_changes_the_data(source):
    a, b = (config_of(source, seed=seed) for seed in (1, 2))
    first, second = (load_clients(c, [0], fit_projection(c)) for c in (a, b))
    assert not set(rows(first.train)[0]) & set(rows(second.train)[0])


def test_a_digit_belongs_to_one_client_and_to_training_or_testing():
    config = config_of("digits-dirichlet", qubits=8)
    projection = fit_projection(config)
    data = load_clients(config, range(30), projection)
    held = [row for s in (data.train, data.test) for client in rows(s) for row in client]
    assert len(held) == len(set(held)) == 1797 - 200
    # together with the public ones they are all the digits there are
    pixels, digits = load_digits(return_X_y=True)
    public, private = _split(1797, config.data, config.federation.seed)
    assert sorted([*public, *private]) == list(range(1797))
    of = np.column_stack([projection.angles(pixels), digits])
    # single precision: a row's last bit may depend on the rows projected beside it
    distance, which = KDTree(of[private]).query(held)
    assert distance.max() < 1e-5
    assert sorted(which) == list(range(1797 - 200))


@pytest.mark.parametrize("source", ["moons", "digits"])
def test_concept_shift_is_an_iid_partition_whose_groups_name_the_classes_differently(source):
    shifted, plain = (config_of(f"{source}-{kind}") for kind in ("concept", "iid"))
    projection = fit_projection(plain)
    theirs, ours = (load_clients(c, range(30), projection) for c in (shifted, plain))
    groups, classes = shifted.data.concept_groups, shape_of(shifted).classes
    for a, b in ((theirs.train, ours.train), (theirs.test, ours.test)):
        assert torch.equal(a.x, b.x)
        for client in range(30):
            own = slice(int(a.counts[client]))
            shift = (a.y[client, own] - b.y[client, own]) % classes
            assert shift.unique().tolist() == [client % groups]


def test_a_quarter_of_each_share_is_for_testing():
    config = config_of("digits-iid")
    data = load_clients(config, range(30), fit_projection(config))
    total = data.train.counts + data.test.counts
    assert set(total.tolist()) == {53, 54}
    assert set(data.test.counts.tolist()) == {13, 14}


@pytest.mark.parametrize("fraction", [0.01, 0.99])
def test_each_client_has_something_to_train_and_to_test_on(fraction):
    # 598 + 200 clients for 1597 samples: two each, one client has three
    config = config_of(
        "digits-iid", **{"test-fraction": fraction, "num-clients": 598, "num-unseen-clients": 200}
    )
    data = load_clients(config, range(798), fit_projection(config))
    assert data.train.counts.min() == data.test.counts.min() == 1


def test_the_projection_is_fitted_on_the_public_digits_alone():
    config = config_of("digits-iid")
    pixels, _ = load_digits(return_X_y=True)
    public, _ = _split(1797, config.data, config.federation.seed)
    assert len(public) == 200
    projection = fit_projection(config)
    np.testing.assert_allclose(projection.mean, pixels[public].mean(0), atol=1e-5)
    angles = projection.angles(pixels[public])
    np.testing.assert_allclose(angles.min(0), 0, atol=1e-5)
    np.testing.assert_allclose(angles.max(0), np.pi, atol=1e-5)


def test_shapes_are_known_without_loading():
    assert shape_of(config_of("moons-iid")) == Shape(2, 2)
    assert shape_of(config_of("digits-iid")) == Shape(4, 10)


@pytest.mark.parametrize("client", [-1, 30])
def test_a_client_that_does_not_exist_is_refused(client):
    config = config_of("moons-iid")
    with pytest.raises(UserError, match=f"no client {client}: the federation has clients 0 to 29"):
        load_clients(config, [0, client], fit_projection(config))


def test_a_public_split_as_large_as_the_pool_is_refused():
    config = config_of("digits-iid", **{"public-samples": 1797})
    with pytest.raises(
        UserError, match=r"public-samples = 1797: digits with classes = .* has 1797 samples"
    ):
        fit_projection(config)


def test_more_clients_than_the_digits_suffice_for_are_refused():
    config = config_of("digits-iid", **{"num-clients": 1000})
    with pytest.raises(UserError, match=r"= 1010: digits .* leaves 1597 .* at most 798 clients"):
        load_clients(config, [0], fit_projection(config))


def test_training_samples_can_be_limited_and_test_samples_are_not():
    values = {"dataset": "digits", "num-clients": 20, "qubits": 4, "num-unseen-clients": 10}
    whole = Config.from_flat(values)
    projection = fit_projection(whole)
    clients = range(30)
    expected = load_clients(whole, clients, projection)
    limited = load_clients(
        Config.from_flat({**values, "max-train-samples": 10}), clients, projection
    )
    assert set(limited.train.counts.tolist()) == {10}
    torch.testing.assert_close(limited.train.x, expected.train.x[:, :10])
    torch.testing.assert_close(limited.test.x, expected.test.x)
