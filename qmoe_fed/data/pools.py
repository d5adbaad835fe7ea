"""Finite sets of labelled images that clients share out among themselves."""

import numpy as np
from numpy.typing import NDArray

from qmoe_fed.config import Config, DataConfig

Pixels = NDArray[np.uint8]
Labels = NDArray[np.int64]


def load_pool(config: Config) -> tuple[Pixels, Labels]:
    """Return all samples of the configured dataset, those of the public split included.

    Returns:
        Pixels, shape ``(n, D)``, and classes 0 … C-1, shape ``(n,)``.
    """
    return read_pool(config.data, config.results.data_dir)


def read_pool(data: DataConfig, data_dir: str) -> tuple[Pixels, Labels]:
    """Return what ``load_pool`` does, from the settings it depends on."""
    from sklearn.datasets import load_digits  # slow to import, and not every dataset needs it

    x, y = load_digits(return_X_y=True)
    return x.astype(np.uint8), y.astype(np.int64)
