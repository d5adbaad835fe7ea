"""Data of a user's own: every way in gives clients the samples that are theirs."""

import sys
import warnings

import numpy as np
import pandas as pd
import pytest
import torch

from qmoe_fed.config import Config
from qmoe_fed.data import RAW, Table, fit_projection, load_clients, settle, shape_of
from qmoe_fed.errors import UserError

G = np.random.default_rng(0)
X, Y = G.normal(size=(240, 3)), np.array(["cat", "dog"])[np.arange(240) % 2]
CLIENT = np.arange(240) // 20 - 1  # 11 clients, after 20 public samples
TEST = np.arange(240) % 20 < 6

MODULE = """
import numpy as np
from pathlib import Path

asked = []

def everything():
    own = np.load("all.npz")
    return own["x"], own["y"], own["client"], own["test"]

def pool():
    own = np.load("all.npz")
    return own["x"], own["y"]

def clients(ids):
    asked.extend(ids)
    x, y, client, test = everything()
    for i in ids:
        yield x[client == i], y[client == i], None, test[client == i]

def broken(ids):
    return [1 / 0 for _ in ids]

def few(ids):
    return list(clients(ids))[1:]

def other():
    return "x"

def middle(x, features):
    from qmoe_fed.data import Projection
    size = x.shape[1]
    return Projection(x.mean(0), np.eye(size)[:, :features], -np.ones(features), np.ones(features))
"""


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own_data_of_a_test.py").write_text(MODULE)
    np.savez("all.npz", x=X, y=Y, client=CLIENT, test=TEST)
    np.savez("split.npz", x=X, y=Y, client=CLIENT, split=TEST)
    np.savez("pool.npz", x=X, y=Y)
    frame = pd.DataFrame({"a": X[:, 0], "b": X[:, 1], "c": X[:, 2], "kind": Y, "client": CLIENT})
    frame["split"] = np.where(TEST, "test", "train")
    frame.to_csv("split.csv", index=False)
    (tmp_path / "each").mkdir()
    for i in range(-1, 11):
        own, name = i == CLIENT, f"client_{i}" if i >= 0 else "public"
        np.savez(f"each/{name}.npz", x=X[own], y=Y[own], split=TEST[own])
    yield tmp_path
    sys.modules.pop("own_data_of_a_test", None)


def config_of(dataset, **others):
    common = {"num-clients": 8, "num-unseen-clients": 3, "classes": "dog,cat", "angles": "pca"}
    kind = {"label-column": "kind"} if dataset.endswith("csv") else {}
    return Config.from_flat({"dataset": dataset, **common, **kind, **others})


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


@pytest.mark.usefixtures("here")
def test_without_public_samples_angles_have_stated_bounds():
    np.savez("none.npz", x=X[20:], y=Y[20:], client=CLIENT[20:])
    with pytest.raises(UserError, match=r"has 0 public samples .* or state angles = 'bounds"):
        fit_projection(config_of("none.npz"))
    config = config_of("none.npz", angles="bounds(-2, 2)", features=3, qubits=3)
    angles = fit_projection(config).angles(np.array([[-2, 0, 2], [-5, 1, 9]]))
    np.testing.assert_allclose(angles, np.pi * np.array([[0, 0.5, 1], [0, 0.75, 1]]), atol=1e-6)
    two = config_of("none.npz", angles="bounds(-2, 2)")
    projection = fit_projection(two)
    with pytest.raises(UserError, match=r"none.npz: 3 features, where the server has 2"):
        load_clients(two, [0], projection)


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("expert_features", ["router", "all", "standardised", 2])
@pytest.mark.parametrize(
    ("angles", "features"),
    [("auto", 3), ("auto", 2), ("bounds", 3), ("standardised", 3), ("standardised", 2), ("pca", 1)],
)
def test_features_become_angles_by_name(angles, features, expert_features):
    others = {
        "angles": angles,
        "features": features,
        "qubits": 3,
        "expert-features": expert_features,
    }
    config = config_of("split.npz", **others)
    projection, shape = fit_projection(config), shape_of(config)
    x, seen = X[:20], projection.inputs(X[:20])
    assert seen.shape == (20, shape.features + shape.inputs)
    assert seen[:, :features].min() >= 0
    assert seen[:, :features].max() <= np.float32(np.pi)
    if angles in ("auto", "bounds") and features == 3:
        expected = np.pi * (x - x.min(0)) / (x.max(0) - x.min(0))
        np.testing.assert_allclose(seen[:, :3], expected, atol=1e-5)
    if angles == "standardised" and features == 3:
        expected = np.pi * ((x - x.mean(0)) / x.std(0) + 3) / 6
        np.testing.assert_allclose(seen[:, :3], expected, atol=1e-5)
    if expert_features != "router":
        centred = (seen[:, features:] ** 2).sum(1).mean()
        assert centred == pytest.approx(2, rel=1e-4)


@pytest.mark.usefixtures("here")
def test_a_users_function_makes_the_projection():
    path = "own_data_of_a_test:middle"
    projection = fit_projection(config_of("split.npz", angles=path))
    expected = np.pi * (np.clip(X[:20] - X[:20].mean(0), -1, 1) + 1) / 2
    np.testing.assert_allclose(projection.angles(X[:20]), expected[:, :2], atol=1e-5)
    with pytest.raises(UserError, match=r"angles .*other' raised TypeError: other\(\) takes 0"):
        fit_projection(config_of("split.npz", angles="own_data_of_a_test:other"))


def test_any_loader_of_scikit_learn():
    config = config_of(
        "sklearn:wine", classes="all", angles="standardised", **{"public-samples": 50}
    )
    assert settle(config).data.labels == ("0", "1", "2")
    assert shape_of(config).classes == 3
    data = load_clients(config, range(11), fit_projection(config))
    assert (data.train.counts + data.test.counts).sum() == 178 - 50
    assert fit_projection(config).components.shape == (13, 2)


def test_a_hubs_dataset_with_any_of_flowers_partitioners(tmp_path, monkeypatch):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import datasets
        import flwr_datasets.federated_dataset
    from PIL import Image

    # a dataset on disk stands in for the one on the hub; nothing leaves this machine
    pixels = G.integers(0, 256, (60, 4, 5), dtype=np.uint8)
    writer = np.repeat(np.arange(12), 5)
    images = [Image.fromarray(p) for p in pixels]
    table = {"image": images, "digit": [0, 1] * 30, "writer": [f"w{i:02}" for i in writer]}
    (tmp_path / "hub").mkdir()
    datasets.Dataset.from_dict(table).to_parquet(tmp_path / "hub" / "train.parquet")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(flwr_datasets.federated_dataset, "event", lambda *_: None)
    common = {"label-column": "digit", "public-samples": 10, "classes": "all"}

    def config_by(partition, options=""):
        by = {"partition": f"flwr:{partition}", "partition-options": options}
        return config_of(f"hf:{tmp_path / 'hub'}", **common, **by)

    config = config_by("NaturalIdPartitioner", "partition_by = 'writer'")
    data = load_clients(config, range(11), RAW)
    who = {tuple(x): i for x, i in zip(pixels.reshape(60, 20).tolist(), writer, strict=True)}
    for client in range(11):
        samples = [data.train.x[client][data.train.mask[client]], data.test.x[client, :1]]
        assert len({who[tuple(x)] for x in torch.cat(samples).int().tolist()}) == 1
    few = {"num-clients": 4, "num-unseen-clients": 0}
    config = Config.from_flat({**config_by("LinearPartitioner").to_flat(), **few})
    sizes = load_clients(config, range(4), RAW)
    assert (sizes.train.counts + sizes.test.counts).tolist() == [5, 10, 15, 20]
    with pytest.raises(UserError, match="unknown partitioner of flwr-datasets 'Linear'"):
        load_clients(config_by("Linear"), [0], RAW)
    with pytest.raises(UserError, match=r"partition-options = 'size = 3': TypeError: .*'size'"):
        load_clients(config_by("LinearPartitioner", "size = 3"), [0], RAW)
    with pytest.raises(UserError, match=r"no column 'label'; set label-column to one of .*'digit'"):
        load_clients(config_of(f"hf:{tmp_path / 'hub'}", classes="all"), [0], RAW)


def test_a_table_beside_clients_that_only_train():
    table = Table(X, Y, np.arange(240) % 4, np.zeros(240, bool))
    config = config_of(table.name, classes="all", **{"num-clients": 4, "num-unseen-clients": 0})
    data = load_clients(config, range(4), RAW)
    assert data.train.counts.tolist() == [60] * 4
    assert data.test.counts.tolist() == [0] * 4
