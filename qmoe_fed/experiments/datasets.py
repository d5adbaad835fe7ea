"""The data of the studies: for every seed its own samples, split into three."""

from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from qmoe_fed import rng
from qmoe_fed.config import Config
from qmoe_fed.data import Projection, Samples, fit_projection, load_clients, load_pool, load_test
from qmoe_fed.errors import UserError
from qmoe_fed.experiments.protocol import Split

MOONS = "moons"
MOONS_SAMPLES = 600, 200, 200
"""Training, validation and test samples of Two Moons: 1000 in all (paper, section V-B)."""

COMPONENTS = 8
"""Principal components of images kept, one per qubit (paper, section V-B)."""

PUBLIC_SAMPLES = 500
"""Training images the components are fitted on, the same for all seeds."""


class ImageTask(NamedTuple):
    """A classification of images: whose files, which labels as in the setting ``classes``, and
    the training, validation (both from the training files) and test samples of a seed."""

    dataset: str
    classes: str
    samples: tuple[int, int, int]


IMAGES = {
    "mnist-0-1": ImageTask("mnist", "0,1", (1600, 400, 400)),
    "fashion-0-1": ImageTask("fashion-mnist", "0,1", (1600, 400, 400)),
    "mnist-10": ImageTask("mnist", "all", (2400, 600, 2000)),
}
"""By name. The first two have the sizes of the paper, 2000 to fit and 400 to test."""


@dataclass(frozen=True)
class Source:
    """Which data.

    Attributes:
        name: ``moons`` or one of ``IMAGES``.
        seeds: Number of seeds.
        first_seed: The first of them; each is a stream of its own.
        seed: Keys all draws.
        noise: Standard deviation of Two Moons.
        data_dir: Folder that holds ``mnist/`` and ``fashion-mnist/``.
    """

    name: str
    seeds: int
    first_seed: int = 0
    seed: int = 0
    noise: float = 0.1
    data_dir: str = ""

    @property
    def streams(self) -> range:
        """The seeds."""
        return range(self.first_seed, self.first_seed + self.seeds)


@dataclass(frozen=True)
class Dataset:
    """Samples of every seed, and how they became angles."""

    split: Split
    projection: Projection
    classes: int

    @property
    def features(self) -> int:
        """Number of features d."""
        return self.split.train.x.shape[-1]


@lru_cache(maxsize=4)
def load(source: Source) -> Dataset:
    """Return the data of all seeds, the same in every process.

    Raises:
        UserError: Image files are missing, damaged or too small.
    """
    return _moons(source) if source.name == MOONS else _images(source, IMAGES[source.name])


def _moons(source: Source) -> Dataset:
    fit, validation, test = MOONS_SAMPLES
    config = Config.from_flat(
        {
            "seed": source.seed,
            "num-clients": source.streams.stop,
            "num-unseen-clients": 0,
            "partition": "iid",
            "noise": source.noise,
            "train-samples": fit + validation,
            "test-samples": test,
        }
    )
    projection = fit_projection(config)
    data = load_clients(config, source.streams, projection)
    return Dataset(_split(data.train, fit, data.test), projection, 2)


def _images(source: Source, task: ImageTask) -> Dataset:
    fit, validation, test = task.samples
    config = Config.from_flat(
        {
            "seed": source.seed,
            "dataset": task.dataset,
            "partition": "iid",
            "classes": task.classes,
            "public-samples": PUBLIC_SAMPLES,
            "features": COMPONENTS,
            "qubits": COMPONENTS,
            "data-dir": source.data_dir,
        }
    )
    projection = fit_projection(config)

    def draw(pool: tuple[NDArray[np.uint8], NDArray[np.int64]], count: int, what: str) -> Samples:
        pixels, classes = pool
        if (held := len(pixels)) < count:
            raise UserError(
                f"{source.name}: {count} {what} images are needed, the files hold {held}"
            )
        draws = (rng.generator(source.seed, f"{source.name}/{what}", k) for k in source.streams)
        rows = np.stack([draw.choice(held, count, replace=False) for draw in draws])
        x, y = projection.angles(pixels[rows]), classes[rows]
        counts = torch.full((source.seeds,), count)
        return Samples(torch.from_numpy(x), torch.from_numpy(y), counts)

    train = draw(load_pool(config), fit + validation, "training")
    held_out = draw(load_test(config), test, "test")
    return Dataset(_split(train, fit, held_out), projection, len(config.data.labels))


def _split(samples: Samples, fit: int, test: Samples) -> Split:
    """Set aside what follows the first ``fit`` samples of each seed for validation."""
    rest = samples.counts - fit
    return Split(samples.first(fit), Samples(samples.x[:, fit:], samples.y[:, fit:], rest), test)
