"""The first of the authors' notebooks: classical experts, one circuit, circuits as experts.

Sixteen numbers per sample, two classes, batches of 32, Adam, a few epochs and no early stop; one
model at a time, as there, so that seconds can be compared.
"""

import time
from collections.abc import Sequence
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from qmoe_fed.config import Config, TrainingConfig
from qmoe_fed.data import Samples
from qmoe_fed.data.pools import load_pool, load_test
from qmoe_fed.experiments.cells import Measured, Row
from qmoe_fed.experiments.models import Model, all_parameters, build
from qmoe_fed.learning import Task, evaluate, train
from qmoe_fed.models import initial_parameters

SYNTHETIC, DIGITS = "synthetic", "mnist 4x4"
INPUTS, HIDDEN = 16, (8, 4)
HELD_OUT = 100  # of the 500 synthetic samples


class SmallMlp(nn.Module):
    """The notebook's classical expert, 16-8-4 with ReLUs, and a linear map to classes."""

    def __init__(self, features: int, classes: int) -> None:
        super().__init__()
        first, second = HIDDEN
        self.layers = nn.Sequential(
            nn.Linear(features, first),
            nn.ReLU(),
            nn.Linear(first, second),
            nn.ReLU(),
            nn.Linear(second, classes),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return scores ``(B, C)`` for x ``(B, d)``."""
        scores: Tensor = self.layers(x)
        return scores


def first_phase(
    model: Model, data: str, streams: Sequence[int], epochs: int, rate: float, data_dir: str = ""
) -> Measured:
    """Fit a model with every seed, one after another, and test it.

    Args:
        model: Its settings.
        data: ``synthetic`` (scikit-learn's make_classification, 500 samples of which 100 are held
            out; a seed draws its own) or ``mnist 4x4`` (0 against 1, each pixel the mean of 49;
            the official test files; a seed draws the start and the order).
        streams: The seeds.
        epochs: Number of epochs.
        rate: Learning rate of Adam.
        data_dir: Folder that holds ``mnist/``.

    Returns:
        A row per seed: test ``accuracy``, ``fit_seconds`` of the processor, ``parameters``.

    Raises:
        UserError: The data cannot be loaded.
    """
    settings = TrainingConfig(
        local_epochs=epochs, learning_rate=rate, weight_decay=0.0, expert_fit="gradient"
    )
    make = partial(build, model, INPUTS, 2)
    module, rows = make(), list[Row]()
    for seed in streams:
        own, held_out = samples(data, seed, data_dir)
        start = initial_parameters(make, 0, [seed])
        began = time.process_time()
        trained = train(Task(module, frozenset(start), settings, 0), start, own, [seed])
        seconds = time.process_time() - began
        accuracy = float(evaluate(module, trained.parameters, held_out).accuracy)
        about: Row = {"seed": seed, "parameters": all_parameters(module)}
        rows.append({**about, "accuracy": accuracy, "fit_seconds": seconds})
    return Measured(rows)


def samples(data: str, seed: int, data_dir: str) -> tuple[Samples, Samples]:
    """Return the samples of a seed, to train on and to be tested on; as ``first_phase``."""
    if data == SYNTHETIC:
        from sklearn.datasets import make_classification  # slow to import

        x, y = make_classification(500, INPUTS, n_informative=10, random_state=seed)
        x /= np.linalg.norm(x, axis=1, keepdims=True)
        parts = [(x[HELD_OUT:], y[HELD_OUT:]), (x[:HELD_OUT], y[:HELD_OUT])]
    else:
        about = {"dataset": "mnist", "classes": "0,1", "data-dir": data_dir, "partition": "iid"}
        config = Config.from_flat(about)
        pools = load_pool(config), load_test(config)
        parts = [(_small(pixels), y) for pixels, y in pools]
    own, held_out = (_of_one(torch.from_numpy(x).float(), torch.from_numpy(y)) for x, y in parts)
    return own, held_out


def _small(pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
    means: NDArray[np.float64] = pixels.reshape(-1, 4, 7, 4, 7).mean((2, 4)) / 255
    return means.reshape(-1, INPUTS)


def _of_one(x: Tensor, y: Tensor) -> Samples:
    return Samples(x[None], y[None], torch.tensor([len(y)]))
