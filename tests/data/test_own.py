"""Data of a user's own: every way in gives clients the samples that are theirs."""

import sys

import numpy as np
import pytest
import torch
from own_samples import CLIENT, TEST, X, Y, config_of

from qmoe_fed.data import RAW, Table, fit_projection, load_clients, settle, shape_of
from qmoe_fed.errors import UserError

APART = [
    "split.npz",
    "split.csv",
    "files:split.npz",
    "each/",
    "own_data_of_a_test:everything",
    "own_data_of_a_test:clients",
]


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("dataset", APART)
def test_a_users_own_split_is_used_as_it_is(dataset):
    config = config_of(dataset)
    projection = fit_projection(config)
    np.testing.assert_allclose(projection.mean, X[:20].mean(0), atol=1e-6)  # the public ones alone
    raw, seen = (load_clients(config, [9, 4], how) for how in (RAW, projection))
    for row, client in enumerate([9, 4]):
        for samples, half in ((raw.train, ~TEST), (raw.test, TEST)):
            own = (client == CLIENT) & half
            got = np.column_stack([samples.x[row], samples.y[row]])
            expected = np.column_stack([X[own].astype(np.float32), Y[own] == "cat"])
            assert sorted(got.tolist()) == sorted(expected.tolist())
    np.testing.assert_allclose(seen.train.x, projection.inputs(raw.train.x.numpy()), atol=1e-5)
    assert torch.equal(seen.train.y, raw.train.y)
    # sorted files are mixed, in an order that is the client's own
    (alone,) = load_clients(config, [4], RAW).train.x
    assert torch.equal(alone, raw.train.x[1])
    expected = X[(CLIENT == 4) & ~TEST].astype(np.float32)
    assert alone.tolist() != expected.tolist()


@pytest.mark.usefixtures("here")
def test_all_ways_in_give_the_same_numbers():
    configs = [config_of(dataset) for dataset in APART]
    first, *others = (load_clients(c, range(11), fit_projection(c)) for c in configs)
    for other in others:
        assert torch.equal(other.train.x, first.train.x)
        assert torch.equal(other.test.y, first.test.y)
    pools = [
        config_of(d, **{"public-samples": 20}) for d in ("pool.npz", "own_data_of_a_test:pool")
    ]
    one, two = (load_clients(c, range(11), fit_projection(c)) for c in pools)
    assert torch.equal(one.train.x, two.train.x)
    assert (one.train.counts + one.test.counts).tolist() == [20] * 11


def test_only_what_is_asked_for_is_read(here):
    config = config_of("own_data_of_a_test:clients")
    projection = fit_projection(config)
    asked = sys.modules["own_data_of_a_test"].asked
    assert set(asked) == {-1}
    asked.clear()
    load_clients(config, [3, 5], projection)
    assert set(asked) == {3, 5}
    for path in (here / "each").glob("client_*"):
        if path.stem not in ("client_3", "client_5"):
            path.unlink()
    (here / "each" / "public.npz").unlink()  # the server alone needs it
    config = config_of("each/", **{"expert-features": "all"})
    assert shape_of(config).inputs == 3
    assert load_clients(config, [5, 3], projection).train.counts.tolist() == [14, 14]
    with pytest.raises(UserError, match=r"each holds no client_4.npz .*expected one file"):
        load_clients(config, [4], projection)


@pytest.mark.usefixtures("here")
def test_a_file_that_changes_is_read_again():
    config = config_of("pool.npz", **{"public-samples": 20})
    before = fit_projection(config)
    np.savez("pool.npz", x=10 * X, y=Y)
    np.testing.assert_allclose(fit_projection(config).mean, 10 * before.mean, rtol=1e-5)


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    ("dataset", "others", "message"),
    [
        ("nowhere.npz", {}, "there is no file .*nowhere.npz; set data-dir"),
        ("split.npz", {"num-clients": 20}, "client 11 has 0 samples, 0 of them to be tested"),
        (
            "split.npz",
            {"num-clients": 20, "classes": "all"},
            "no samples of client 11: .* there are 11",
        ),
        (
            "split.npz",
            {"classes": "dog,owl"},
            "split.npz, row 1: the label cat is none of: dog, owl",
        ),
        ("each/", {"classes": "all"}, "nobody sees all samples of each/; name all labels"),
        ("each/", {"classes": "dog,owl"}, "each/client_0.npz, row 1: the label cat is none of"),
        ("own_data_of_a_test:broken", {}, "raised ZeroDivisionError: division by zero"),
        ("own_data_of_a_test:few", {}, "10 entries for 11 clients"),
        ("own_data_of_a_test:other", {}, r"expected \(x, y\), \(x, y, client\)"),
        ("own_data_of_a_test:asked", {}, "'own_data_of_a_test:asked' is no function"),
        (
            "own_data_of_a_test:nothing",
            {},
            "unknown dataset in module own_data_of_a_test: 'nothing'",
        ),
        ("sklearn:wines", {}, "unknown dataset of scikit-learn 'wines'. Did you mean 'wine'"),
    ],
)
def test_what_cannot_work_is_refused_before_a_run(dataset, others, message):
    config = config_of(dataset, **others)
    clients = range(config.federation.num_clients + config.federation.num_unseen_clients)
    with pytest.raises(UserError, match=message):
        load_clients(settle(config), clients, RAW)


def test_names_of_clients_must_be_as_many_as_there_are_clients():
    table = Table(X, Y, np.array(list("abcd"))[np.arange(240) % 4])
    for count in (3, 5):
        config = config_of(table.name, **{"num-clients": count, "num-unseen-clients": 0})
        with pytest.raises(UserError, match=f"4 clients have names, but .* = {count}; give them"):
            load_clients(config, [0], RAW)


def test_nobody_has_nothing():
    data = load_clients(config_of("own/"), [], RAW)
    assert data.train.x.shape == data.test.x.shape == (0, 0, 2)


def test_a_table_beside_clients_that_only_train():
    table = Table(X, Y, np.arange(240) % 4, np.zeros(240, bool))
    config = config_of(table.name, classes="all", **{"num-clients": 4, "num-unseen-clients": 0})
    data = load_clients(config, range(4), RAW)
    assert data.train.counts.tolist() == [60] * 4
    assert data.test.counts.tolist() == [0] * 4


def test_the_same_samples_in_both_halves_are_refused():
    both = np.concatenate([X[:20], X[:20]])
    table = Table(both, [0, 1] * 20, [3] * 40, [0] * 20 + [1] * 20)
    with pytest.raises(UserError, match="client 3 has the same samples in both halves"):
        load_clients(config_of(table.name, classes="0,1"), [3], RAW)
