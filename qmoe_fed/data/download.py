"""Fetching image datasets through flwr-datasets, kept as IDX files for later runs."""

import os
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from qmoe_fed.data import idx

_HUB = {"mnist": "ylecun/mnist", "fashion-mnist": "zalando-datasets/fashion_mnist"}
"""Names of the datasets on the Hugging Face hub; their columns are ``image`` and ``label``."""


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
