"""The sums of a run with distributed-dp: rows, each client's noise, and what they spend."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from qmoe_fed.config import Config
from qmoe_fed.data import shape_of
from qmoe_fed.federated.model import Model
from qmoe_fed.federated.rules import sample_size
from strategies import gaussian, skellam
from strategies.secure_sum import checks
from strategies.secure_sum.fixed_point import Block
from strategies.secure_sum.parameters import count
from strategies.skellam import Floats, Release

FEWEST_BITS, MOST_BITS = 12, 30  # fewer cost privacy, with more the squares of norms overflow


@dataclass(frozen=True)
class Part:
    """What clients add to one kind of sum.

    Attributes:
        blocks: What a row consists of, in the unit of clipped values.
        release: The sum with the noise of as few honest clients as may be left.
        variance: Of the noise of each client, on each coordinate of its integers.
    """

    blocks: tuple[Block, ...]
    release: Release
    variance: float


def parts(config: Config) -> dict[str, Part]:
    """Return the sums of a run, by ``checks.KINDS``; UserError if they cannot work.

    A row of training is the update over the norm, and, if that is adaptive, whether it was not
    clipped, as ± half of what makes its noise that of ``gaussian.with_count``. A row of scores is
    ``scores`` over their ranges, less the middle.
    """
    privacy, federation = config.privacy, config.federation
    clients, fewest = federation.num_clients, checks.least(config)
    asked = {"train": sample_size(clients, federation.fraction_train), "score": clients}
    corrupt = count(privacy.corrupt_fraction, clients)
    deviation, scale = privacy.noise_multiplier, 2.0**privacy.fixed_point_bits
    norms = {"train": [(Model(config).layout.size, 1.0)]}
    if privacy.clip == "adaptive":
        deviation, counted = gaussian.with_count(deviation, asked["train"])
        norms["train"].append((1, deviation / (2 * counted)))
    radius = math.sqrt(1.75 - 1 / config.model.num_experts)  # of [0, 1]³ and loads that sum to 1
    norms["score"] = [(3 + config.model.num_experts, radius)]
    result = {}
    scored = privacy.score_noise * privacy.noise_multiplier * radius
    for kind, sigma in (("train", deviation), ("score", scored)):
        size, norm = sum(d for d, _ in norms[kind]), math.hypot(*(c for _, c in norms[kind]))
        honest = fewest[kind] - corrupt
        release = Release(skellam.longest(norm * scale, size), size, (sigma * scale) ** 2)
        most = sigma * math.sqrt(asked[kind] / honest)  # the noise if all survive
        blocks = [Block(d, clip, privacy.fixed_point_bits, most) for d, clip in norms[kind]]
        result[kind] = Part(tuple(blocks), release, release.variance / honest)
    return result


def score_ranges(config: Config) -> tuple[Floats, Floats]:
    """Return what scores are at most (a loss: twice what guessing costs), and middles over that."""
    experts, classes = config.model.num_experts, shape_of(config).classes
    most = [1.0, 2 * math.log(classes), max(math.log2(experts), 1.0)]
    return np.array(most + [1.0] * experts), np.array([0.5] * 3 + [1 / experts] * experts)


def is_scored(config: Config, number: int) -> bool:
    """Return whether clients are scored after a round, as the run does; 0 is before the first."""
    last = number == config.federation.num_server_rounds
    return last or number % config.results.evaluate_every == 0


def spent(config: Config, parts: Mapping[str, Part], times: int, rounds: int) -> float:
    """Return the ε of so many sums of updates, and of all scores until a round is over."""
    scored = sum(is_scored(config, number) for number in range(rounds + 1))
    releases = (parts["train"].release, times), (parts["score"].release, scored)
    return skellam.epsilon(releases, config.privacy.delta)
