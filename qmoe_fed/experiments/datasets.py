"""The data of the studies: for every seed its own samples, split into three."""

from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from qmoe_fed import rng
from qmoe_fed.config import Config
from qmoe_fed.config.settings import Scalar
from qmoe_fed.data import Projection, Samples, fit_projection, load_clients, load_pool, load_test
from qmoe_fed.errors import UserError

MOONS = "moons"
MOONS_SAMPLES = 600, 200, 200  # training, validation, test: 1000 in all (paper, section V-B)
COMPONENTS = 8  # of images (paper, section V-B)
PUBLIC_SAMPLES = 500  # training images the components are fitted on, the same for all seeds


class ImageTask(NamedTuple):
    """A classification of images: whose files, which labels as in the setting ``classes``, and
    the training, validation (both from the training files) and test samples of a seed."""

    dataset: str
    classes: str
    samples: tuple[int, int, int]


IMAGES = {
    "mnist-0-1": ImageTask("mnist", "0,1", (1600, 400, 400)),
    "fashion-0-1": ImageTask("fashion-mnist", "0,1", (1600, 400, 400)),
    "mnist-4": ImageTask("mnist", "0,1,2,3", (1200, 400, 400)),
    "fashion-4": ImageTask("fashion-mnist", "0,1,2,3", (1200, 400, 400)),
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
        components: Number of principal components of images that are kept, one per qubit.
    """

    name: str
    seeds: int
    first_seed: int = 0
    seed: int = 0
    noise: float = 0.1
    data_dir: str = ""
    components: int = COMPONENTS

    @property
    def streams(self) -> range:
        """The seeds."""
        return range(self.first_seed, self.first_seed + self.seeds)


@dataclass(frozen=True)
class Dataset:
    """Labelled samples, row k for seed k, and how they became angles.

    ``train`` is what parameters are fitted to; ``validation`` decides when to stop and which
    learning rate to use; ``test`` is seen once, by what was chosen.
    """

    train: Samples
    validation: Samples
    test: Samples
    projection: Projection
    classes: int

    @property
    def features(self) -> int:
        """Number of features d."""
        return self.train.x.shape[-1]


@lru_cache(maxsize=4)
def load(source: Source) -> Dataset:
    """Return the data of all seeds, the same in every process.

    Raises:
        UserError: Image files are missing, damaged or too small.
    """
    settings: dict[str, Scalar] = {"seed": source.seed, "partition": "iid"}
    if source.name == MOONS:
        fit, validation, test = MOONS_SAMPLES
        settings |= {"num-clients": source.streams.stop, "num-unseen-clients": 0}
        settings |= {"noise": source.noise, "train-samples": fit + validation, "test-samples": test}
    else:
        dataset, classes, (fit, validation, test) = IMAGES[source.name]
        settings |= {"dataset": dataset, "classes": classes, "data-dir": source.data_dir}
        settings |= {"features": source.components, "qubits": source.components}
        settings |= {"public-samples": PUBLIC_SAMPLES}
    config = Config.from_flat(settings)
    projection = fit_projection(config)
    if source.name == MOONS:
        data = load_clients(config, source.streams, projection)
        whole, held_out = data.train, data.test
    else:
        whole = _draw(source, projection, load_pool(config), fit + validation, "training")
        held_out = _draw(source, projection, load_test(config), test, "test")
    rest = Samples(whole.x[:, fit:], whole.y[:, fit:], whole.counts - fit)
    return Dataset(whole.first(fit), rest, held_out, projection, len(config.data.labels))


def _draw(
    source: Source,
    projection: Projection,
    pool: tuple[NDArray[np.uint8], NDArray[np.int64]],
    count: int,
    what: str,
) -> Samples:
    """Draw images for every seed from those in a pool, without replacement."""
    pixels, classes = pool
    if (held := len(pixels)) < count:
        raise UserError(f"{source.name}: {count} {what} images are needed, the files hold {held}")
    draws = (rng.generator(source.seed, f"{source.name}/{what}", k) for k in source.streams)
    rows = np.stack([draw.choice(held, count, replace=False) for draw in draws])
    x, y = torch.from_numpy(projection.angles(pixels[rows])), torch.from_numpy(classes[rows])
    return Samples(x, y, torch.full((source.seeds,), count))
