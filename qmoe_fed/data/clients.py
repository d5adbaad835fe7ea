"""The data of any clients of a federation, by their ids.

What a client holds depends on the settings and its id, never on which clients are loaded with it.
Ids from ``num-clients`` on are the unseen clients, which never train.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from qmoe_fed import memory, rng
from qmoe_fed.config import Config, values
from qmoe_fed.data import moons, own, shares
from qmoe_fed.data.pools import PIXELS
from qmoe_fed.data.preprocessing import Projection
from qmoe_fed.data.samples import ClientData, Samples
from qmoe_fed.errors import UserError


@dataclass(frozen=True)
class Shape:
    """Sizes of a mixture: what its router sees, what it tells apart, what its experts see.

    Attributes:
        features: Number of angles of a sample.
        classes: Number of classes it can belong to.
        inputs: Number of inputs of an expert; 0: it sees the angles.
    """

    features: int
    classes: int
    inputs: int = 0


def shape_of(config: Config) -> Shape:
    """Return the shape of the configured data.

    None is loaded, but of a user's own where the settings do not say.
    """
    config = own.settle(config)
    data = config.data
    features = 2 if data.dataset == "moons" else data.features or config.model.qubits
    seen = data.expert_features
    inputs: int | str = seen
    if seen in ("all", "standardised"):
        by_box = data.own and values.box(data.angles)
        inputs = (
            PIXELS.get(data.dataset, features)
            if by_box or not data.own
            else own.raw_size(data, config.results.data_dir)
        )
    return Shape(features, len(data.labels), 0 if isinstance(inputs, str) else inputs)


def fit_projection(config: Config) -> Projection:
    """Return the projection the server sends to all clients before the first round.

    For Two Moons it follows from the settings; for images it is fitted on the public split.

    Raises:
        UserError: The images cannot be loaded, or the public split does not suffice.
    """
    if config.data.dataset == "moons":
        return moons.bounds(config)
    seed, features = config.federation.seed, shape_of(config).features
    data, data_dir = config.data, config.results.data_dir
    return shares.fit(data, data_dir, seed, features, own.stamp(data, data_dir))


def load_clients(config: Config, clients: Sequence[int], projection: Projection) -> ClientData:
    """Return the data of some clients, one row each, in the order asked for.

    The projection is what ``fit_projection`` returned on the server.

    Raises:
        UserError: There is no client of that id, or the images cannot be loaded or shared out.
    """
    ids = np.asarray(clients, dtype=np.int64)
    total = config.federation.num_clients + config.federation.num_unseen_clients
    strangers = ids[(ids < 0) | (ids >= total)]
    if len(strangers):
        raise UserError(f"no client {strangers[0]}: the federation has clients 0 to {total - 1}")
    if config.data.own and not len(ids):
        shape, none = shape_of(config), torch.zeros(0, 0, dtype=torch.int64)
        nobody = Samples(torch.zeros(0, 0, shape.features + shape.inputs), none, none[:, :0].sum(1))
        return ClientData(nobody, nobody)
    if config.data.dataset == "moons":
        samples = config.data.train_samples, config.data.test_samples
        told = "train-samples = {}, test-samples = {}".format(*samples)
        memory.check(f"{told}, of {len(ids)} clients", len(ids) * 16 * sum(samples))
        train = moons.draw(config, ids, projection, "train", config.data.train_samples)
        test = moons.draw(config, ids, projection, "test", config.data.test_samples)
    else:
        train, test = shares.load(config, ids, projection)
    if config.data.partition == "concept-shift":
        train, test = (_rename(samples, ids, config) for samples in (train, test))
    return ClientData(train, test)


def are_apart(config: Config) -> bool:
    """Return whether clients have samples of their own, which may be on their hosts alone."""
    return own.is_apart(config.data, config.results.data_dir)


def example(config: Config, projection: Projection) -> Samples:
    """Return samples to try a model on: those of client 0, or made-up ones if it may be far."""
    if not are_apart(config):
        return load_clients(config, [0], projection).train
    shape = shape_of(config)
    y = torch.arange(2 * shape.classes) % shape.classes
    size = len(y), shape.features + shape.inputs
    x = np.pi * rng.uniform(config.federation.seed, "example", [0], size)
    return Samples(torch.from_numpy(x).float(), y[None], torch.tensor([len(y)]))


def _rename(samples: Samples, ids: NDArray[np.int64], config: Config) -> Samples:
    """Let clients of group g = id mod ``concept-groups`` call class c what is c + g mod C.

    Any two groups disagree on every sample.
    """
    group = torch.from_numpy(ids % config.data.concept_groups)
    y = (samples.y + group[:, None]) % shape_of(config).classes
    return replace(samples, y=y * samples.mask)
