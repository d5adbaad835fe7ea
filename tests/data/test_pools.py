"""The image datasets, from small files in their layout."""

import warnings
from pathlib import Path

import numpy as np
import pytest

from qmoe_fed.config import Config
from qmoe_fed.data import fit_projection, idx, load_clients, pools
from qmoe_fed.errors import UserError

NAMES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)


def images(size, seed):
    """Return random images whose first pixel is their label, and the labels."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, 10, size, dtype=np.uint8)
    pixels = generator.integers(0, 256, (size, 4, 5), dtype=np.uint8)
    pixels[:, 0, 0] = labels
    return pixels, labels


@pytest.fixture
def data_dir(tmp_path):
    """A folder that holds 500 training and 60 test images of mnist."""
    folder = tmp_path / "mnist"
    folder.mkdir()
    for name, array in zip(NAMES, images(500, 0) + images(60, 1), strict=True):
        idx.write(folder / name, array)
    return tmp_path


def config_of(data_dir="", **others):
    settings = {"dataset": "mnist", "num-clients": 20, "num-unseen-clients": 5, "qubits": 3}
    return Config.from_flat(settings | {"data-dir": str(data_dir)} | others)


def test_the_pool_is_the_training_files_and_the_test_files_are_kept_apart(data_dir):
    config = config_of(data_dir)
    for load, size, seed in ((pools.load_pool, 500, 0), (pools.load_test, 60, 1)):
        x, y = load(config)
        pixels, labels = images(size, seed)
        np.testing.assert_array_equal(x, pixels.reshape(size, 20))
        np.testing.assert_array_equal(y, labels)
        assert (x.dtype, y.dtype) == (np.uint8, np.int64)


def test_chosen_classes_are_numbered_in_the_order_given(data_dir):
    for load in (pools.load_pool, pools.load_test):
        x, y = load(config_of(data_dir, classes="7,0,3"))
        assert set(y) == {0, 1, 2}
        np.testing.assert_array_equal(np.array([7, 0, 3])[y], x[:, 0])
    _, everything = pools.load_pool(config_of(data_dir))
    _, chosen = pools.load_pool(config_of(data_dir, classes="7,0,3"))
    assert len(chosen) == np.isin(everything, [7, 0, 3]).sum()


def test_digits_can_be_chosen_too_but_have_no_test_files():
    x, y = pools.load_pool(config_of(dataset="digits", classes="1,0"))
    assert x.shape == (360, 64)
    assert np.bincount(y).tolist() == [182, 178]
    with pytest.raises(UserError, match="digits has no official test files"):
        pools.load_test(config_of(dataset="digits"))


def test_clients_share_the_training_images_but_the_public_ones(data_dir):
    config = config_of(data_dir)
    data = load_clients(config, range(25), fit_projection(config))
    assert (data.train.counts + data.test.counts).tolist() == [12] * 25
    assert data.train.x.shape == (25, 9, 3)


def test_a_folder_without_the_files_is_refused_with_all_that_is_needed(tmp_path):
    with pytest.raises(UserError) as error:
        fit_projection(config_of(tmp_path))
    assert f"the files of mnist are not in {tmp_path}/mnist." in str(error.value)
    assert all(name in str(error.value) for name in NAMES)
    assert "Set data-dir to the folder that holds mnist/" in str(error.value)


@pytest.mark.parametrize("name", NAMES[:2])
def test_one_missing_file_is_enough_to_be_refused(data_dir, name):
    (data_dir / "mnist" / name).unlink()
    with pytest.raises(UserError, match="the files of mnist are not in"):
        pools.load_pool(config_of(data_dir))


def test_a_relative_folder_is_shown_in_full(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=f"are not in {tmp_path}/here/mnist"):
        pools.load_pool(config_of("here"))


def test_a_label_beyond_nine_is_refused(data_dir):
    path = data_dir / "mnist" / NAMES[1]
    idx.write(path, np.full(500, 26, np.uint8))
    with pytest.raises(UserError) as error:
        pools.load_pool(config_of(data_dir))
    assert str(error.value) == f"{path} holds the label 26; mnist has labels 0 to 9"


def test_without_a_folder_the_files_are_downloaded_once(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    asked = []

    def download(dataset, split, *paths):
        asked.append((dataset, split))
        paths[0].parent.mkdir(parents=True, exist_ok=True)
        for path, array in zip(paths, images(30, 2), strict=True):
            idx.write(path, array)

    monkeypatch.setattr(pools, "download", download)
    config = config_of(dataset="fashion-mnist")
    for _ in range(2):
        x, _ = pools.load_pool(config)
        assert x.shape == (30, 20)
    pools.load_test(config)
    assert asked == [("fashion-mnist", "train"), ("fashion-mnist", "test")]
    assert (tmp_path / "qmoe-fed" / "fashion-mnist" / NAMES[2]).exists()


def test_a_failed_download_says_where_to_put_the_files(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))

    def download(*_):
        raise ConnectionError("no route to the hub")

    monkeypatch.setattr(pools, "download", download)
    with pytest.raises(UserError) as error:
        pools.load_pool(config_of())
    assert f"not in {tmp_path}/qmoe-fed/mnist and could not be downloaded" in str(error.value)
    assert "(no route to the hub)" in str(error.value)
    assert "Set data-dir to the folder" in str(error.value)


def test_the_cache_is_in_the_home_directory_by_default(monkeypatch):
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert pools.cache_dir() == Path.home() / ".cache" / "qmoe-fed"


def test_downloads_go_through_flwr_datasets(monkeypatch, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import datasets
        import flwr_datasets.federated_dataset
    from PIL import Image

    # a dataset on disk stands in for the one on the hub; nothing leaves this machine
    pixels, labels = images(12, 3)
    table = {"image": [Image.fromarray(p) for p in pixels], "label": labels.tolist()}
    (tmp_path / "hub").mkdir()
    datasets.Dataset.from_dict(table).to_parquet(tmp_path / "hub" / "train.parquet")
    monkeypatch.setitem(pools._HUB, "mnist", str(tmp_path / "hub"))
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(flwr_datasets.federated_dataset, "event", lambda *_: None)

    paths = tmp_path / "mnist" / NAMES[0], tmp_path / "mnist" / NAMES[1]
    pools.download("mnist", "train", *paths)
    x, y = idx.read(*paths)
    np.testing.assert_array_equal(x, pixels)
    np.testing.assert_array_equal(y, labels)
    assert sorted(p.name for p in (tmp_path / "mnist").iterdir()) == sorted(NAMES[:2])
