"""Finite sets of labelled images that clients share out among themselves.

Clients of an image dataset share its training files; each splits its share into samples to train
on and samples to be tested on. The official test files stay whole, for centralized baselines.
Files that are not there are fetched through flwr-datasets and kept as IDX files for later runs.
"""

import os
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qmoe_fed.config import Config, DataConfig, values
from qmoe_fed.config.settings import expanded
from qmoe_fed.data import idx, own
from qmoe_fed.errors import UserError

Pixels = NDArray[Any]
Labels = NDArray[np.int64]

PIXELS = {"digits": 64, "mnist": 784, "fashion-mnist": 784}
"""Raw features of a sample."""

_FILES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}
_HUB = {"mnist": "ylecun/mnist", "fashion-mnist": "zalando-datasets/fashion_mnist"}
"""Names of the datasets on the Hugging Face hub; their columns are ``image`` and ``label``."""


def load_pool(config: Config) -> tuple[Pixels, Labels]:
    """Return what ``read_pool`` does, for a run."""
    return read_pool(config.data, config.results.data_dir)


def load_test(config: Config) -> tuple[Pixels, Labels]:
    """Return the official test files, which no client holds; shapes and errors as ``load_pool``.

    Raises:
        UserError: The dataset has none.
    """
    if config.data.dataset not in _HUB:
        raise UserError(
            f"{config.data.dataset} has no official test files; use the clients' test samples"
        )
    return _choose(*_read_files(config.data, config.results.data_dir, "test"), config.data)


def read_pool(data: DataConfig, data_dir: str) -> tuple[Pixels, Labels]:
    """Return what clients share: the training files, or all the digits.

    Returns:
        Pixels, shape ``(n, D)``, and classes 0 … C-1, shape ``(n,)``; the public split is among
        them.

    Raises:
        UserError: The files are missing and cannot be downloaded, or they are damaged.
    """
    if data.own:
        table = own.table(data, data_dir)
        return table.x, table.classes(tuple(map(str, data.labels)) or table.labels)
    if data.dataset == "digits":
        from sklearn.datasets import load_digits  # slow to import

        pixels, labels = load_digits(return_X_y=True)
        return _choose(pixels.astype(np.uint8), labels, data)
    return _choose(*_read_files(data, data_dir, "train"), data)


def _choose(pixels: Pixels, labels: NDArray[np.integer], data: DataConfig) -> tuple[Pixels, Labels]:
    """Keep the labels in use and number them 0 … C-1, in the order of ``classes``."""
    number = np.full(256, -1)
    number[list(values.labels(data.classes))] = np.arange(len(data.labels))
    classes = number[labels]
    chosen = classes >= 0
    return pixels[chosen].reshape(chosen.sum(), -1), classes[chosen]


def _read_files(data: DataConfig, data_dir: str, split: str) -> tuple[Pixels, Pixels]:
    folder = (expanded("data-dir", data_dir).absolute() if data_dir else cache_dir()) / data.dataset
    paths = [folder / name for name in _FILES[split]]
    found = [next(filter(Path.exists, (p, p.with_name(f"{p.name}.gz"))), None) for p in paths]
    images, labels = found
    if images is None or labels is None:
        if data_dir:
            raise _missing(data.dataset, folder)
        images, labels = paths
        try:
            download(data.dataset, split, images, labels)
        except Exception as error:  # the hub's clients have no common base for their errors
            reason = f" and could not be downloaded ({error})"
            raise _missing(data.dataset, folder, reason) from error
    x, y = idx.read(images, labels)
    if y.max(initial=0) > 9:
        raise UserError(f"{labels} holds the label {y.max()}; {data.dataset} has labels 0 to 9")
    return x, y


def _missing(dataset: str, folder: Path, further: str = "") -> UserError:
    names = ", ".join(name for pair in _FILES.values() for name in pair)
    return UserError(
        f"the files of {dataset} are not in {folder}{further}. Expected there, each with or "
        f"without .gz: {names}. Set data-dir to the folder that holds {dataset}/ with these files"
    )


def cache_dir() -> Path:
    """Return the folder that holds downloaded datasets."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "qmoe-fed"


def download(dataset: str, split: str, images: Path, labels: Path) -> None:
    """Download the ``train`` or ``test`` split of a dataset and write it as two IDX files."""
    from flwr_datasets import FederatedDataset  # takes seconds and 250 MB to import

    source = FederatedDataset(dataset=_HUB[dataset], partitioners={}, shuffle=False)
    rows = source.load_split(split)
    contents = {
        images: np.stack([np.asarray(image, np.uint8) for image in rows["image"]]),
        labels: np.array(rows["label"], np.uint8),
    }
    images.parent.mkdir(parents=True, exist_ok=True)
    # moved into place when complete: several processes may be at it, and one may be killed
    with TemporaryDirectory(dir=images.parent) as scratch:
        for path, array in contents.items():
            idx.write(Path(scratch) / path.name, array)
            (Path(scratch) / path.name).replace(path)
