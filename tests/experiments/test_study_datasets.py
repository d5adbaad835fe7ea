import numpy as np
import pytest
import torch

from qmoe_fed.data import idx
from qmoe_fed.errors import UserError
from qmoe_fed.experiments import datasets
from qmoe_fed.experiments.datasets import MOONS, MOONS_SAMPLES, ImageTask, Source, load


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Return a folder of small image files, and let there be a task that they suffice for."""
    draw = np.random.default_rng(0)
    for split, count in (("train", 200), ("t10k", 60)):
        pixels = draw.integers(0, 200, (count, 6, 6), dtype=np.uint8)
        pixels[:, 0, 0] = 255 if split == "t10k" else 0  # says where an image comes from
        (tmp_path / "mnist").mkdir(exist_ok=True)
        idx.write(tmp_path / "mnist" / f"{split}-images-idx3-ubyte", pixels)
        labels = draw.integers(0, 3, count).astype(np.uint8)
        idx.write(tmp_path / "mnist" / f"{split}-labels-idx1-ubyte", labels)
    monkeypatch.setattr(datasets, "PUBLIC_SAMPLES", 50)
    small = ImageTask("mnist", "0,2", (70, 20, 30))
    monkeypatch.setattr(datasets, "IMAGES", {"small": small})
    return str(tmp_path)


def test_two_moons_are_1000_samples_per_seed_and_seeds_differ():
    split = load(Source(MOONS, 3))
    assert [s.x.shape[1] for s in (split.train, split.validation, split.test)] == [*MOONS_SAMPLES]
    assert sum(MOONS_SAMPLES) == 1000
    everything = torch.cat([split.train.x, split.validation.x, split.test.x], 1)
    assert everything.shape == (3, 1000, 2)
    assert len(everything.reshape(-1, 2).unique(dim=0)) == 3000  # no sample twice, in no split
    assert 0 <= everything.min() <= everything.max() <= torch.pi


def test_what_a_seed_gets_does_not_depend_on_the_number_of_seeds(folder):
    for name in (MOONS, "small"):
        few, many = (load(Source(name, k, data_dir=folder)) for k in (2, 4))
        for part in ("train", "validation", "test"):
            assert torch.equal(getattr(few, part).x, getattr(many, part).x[:2])
            assert torch.equal(getattr(few, part).y, getattr(many, part).y[:2])


def test_images_to_test_come_from_the_test_files_and_no_image_is_drawn_twice(folder):
    split = load(Source("small", 3, data_dir=folder))
    assert (split.train.x.shape, split.validation.x.shape) == ((3, 70, 8), (3, 20, 8))
    assert split.test.x.shape == (3, 30, 8)
    assert set(split.train.y.unique().tolist()) == {0, 1}  # labels 0 and 2, numbered anew
    for seed in range(3):
        fitted = torch.cat([split.train.x[seed], split.validation.x[seed]])
        assert len(fitted.unique(dim=0)) == 90
        assert len(split.test.x[seed].unique(dim=0)) == 30
        assert len(torch.cat([fitted, split.test.x[seed]]).unique(dim=0)) == 120


def test_too_few_images_are_refused(folder, monkeypatch):
    large = ImageTask("mnist", "0,2", (100, 60, 30))
    monkeypatch.setitem(datasets.IMAGES, "large", large)
    with pytest.raises(UserError, match="large: 160 training images are needed, the files hold"):
        load(Source("large", 2, data_dir=folder))


def test_the_first_seed_is_a_stream_whatever_comes_before_it(folder):
    for name in (MOONS, "small"):
        first = load(Source(name, 4, data_dir=folder))
        later = load(Source(name, 2, 2, data_dir=folder))
        for part in ("train", "validation", "test"):
            assert torch.equal(getattr(first, part).x[2:], getattr(later, part).x)
            assert torch.equal(getattr(first, part).y[2:], getattr(later, part).y)
