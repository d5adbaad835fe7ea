"""Data of a user's own: how features become angles, and loaders of other libraries."""

import warnings

import numpy as np
import pytest
import torch
from own_samples import CLIENT, X, Y, config_of

from qmoe_fed.config import Config
from qmoe_fed.data import RAW, fit_projection, load_clients, settle, shape_of
from qmoe_fed.errors import UserError


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
    pixels = np.random.default_rng(1).integers(0, 256, (60, 4, 5), dtype=np.uint8)
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
