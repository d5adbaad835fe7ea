"""From the config of a run to its protocol, and what cannot hold under a secure sum."""

from collections.abc import Mapping, Sequence

from qmoe_fed.config import Config
from qmoe_fed.errors import UserError
from qmoe_fed.federated.mechanism import Mechanism
from qmoe_fed.federated.model import Model
from qmoe_fed.federated.rules import sample_size
from strategies import gaussian
from strategies.secure_sum.fixed_point import Block
from strategies.secure_sum.parameters import committee_size, least_survivors
from strategies.secure_sum.settings import Settings

KINDS = ("train", "score")
"""What is summed."""

LARGEST = 100.0
"""What a loss or a score counts at most."""


def scores(config: Config) -> list[str]:
    """Return which columns of a table of scores are summed."""
    loads = [f"load-{i}" for i in range(config.model.num_experts)]
    return ["accuracy", "loss", "routing-entropy", *loads]


def clip_norm(config: Config) -> float:
    """Return to which norm updates are clipped: with room for noise where local-dp adds it."""
    privacy, names = config.privacy, config.privacy.mechanisms.split(",")
    if "local-dp" in map(str.strip, names):
        size = Model(config).layout.size
        return gaussian.noisy_norm(privacy.clip_norm, privacy.noise_multiplier, size)
    return privacy.clip_norm


def rows(config: Config) -> dict[str, list[Block]]:
    """Return what is summed, by ``KINDS``.

    A row of training is the update, the loss and, where examples are weights, their number, by
    which the update is multiplied.
    """
    bits, weighted = config.privacy.fixed_point_bits, config.strategy.weighting == "examples"
    most = config.strategy.max_weight if weighted else 1.0
    size = Model(config).layout.size
    train = [Block(size, clip_norm(config) * most, bits), Block(1, LARGEST, bits)]
    train += [Block(1, most, bits)] * weighted
    return {"train": train, "score": [Block(1, LARGEST, bits)] * len(scores(config))}


def least(config: Config) -> dict[str, int]:
    """Return with how few survivors a sum is opened, by ``KINDS``; as ``least_survivors``."""
    clients, privacy = config.federation.num_clients, config.privacy
    asked = {"train": sample_size(clients, config.federation.fraction_train), "score": clients}
    corrupt, dropouts = privacy.corrupt_fraction, privacy.dropout_fraction
    return {kind: least_survivors(many, clients, corrupt, dropouts) for kind, many in asked.items()}


def protocol(config: Config, blocks: Mapping[str, Sequence[Block]]) -> dict[str, Settings]:
    """Return the settings of the sums of a run, by ``KINDS``; UserError if they cannot work.

    Args:
        config: The run.
        blocks: What is summed, by ``KINDS``.
    """
    federation, privacy = config.federation, config.privacy
    clients, malicious = federation.num_clients, privacy.malicious_server
    corrupt, dropouts = privacy.corrupt_fraction, privacy.dropout_fraction
    members, threshold = committee_size(clients, corrupt, dropouts, malicious)
    fewest = least(config)
    return {
        kind: Settings(
            f"seed {federation.seed}",
            clients,
            tuple(parts),
            members,
            threshold,
            fewest[kind],
            malicious,
            rounds=federation.num_server_rounds + (kind == "score"),  # also before the first
        )
        for kind, parts in blocks.items()
    }


def refuse(
    own: Mechanism,
    name: str,
    further: Mapping[str, tuple[bool, str]],
    config: Config,
    chain: Sequence[Mechanism],
) -> None:
    """Refuse settings that need what the server does not see, or would not protect.

    Args:
        own: The mechanism that hides rows.
        name: Its name.
        further: What else must hold, by setting, and why.
        config: The run.
        chain: All its mechanisms.

    Raises:
        UserError: There are such settings.
    """
    strategy = config.strategy
    reasons = {
        "aggregator": (strategy.aggregator == "mean", "only a mean is made of a sum"),
        "strategy": (strategy.strategy == "router", "others would look at single updates"),
        "max-update-norm": (
            strategy.max_update_norm == 0,
            "the server sees no norms; clients clip their updates to clip-norm",
        ),
        "sampling": (
            config.federation.sampling == "fixed",
            "how few may survive must be known before, and the server knows whom it asks, so there "
            "is no credit for chance; use 'fixed'",
        ),
        "clip-norm": (
            config.privacy.clip_norm <= Model(config).max_update_norm,
            f"a mean longer than {Model(config).max_update_norm:g} would be left out",
        ),
        "weighting": (
            strategy.weighting == "uniform" or len(config.model.depths) == 1,
            "clients that train different layers are not weighted by examples",
        ),
        **further,
    }
    for setting, (holds, reason) in reasons.items():
        if not holds:
            value = config.to_flat()[setting]
            raise UserError(f"mechanisms = {name!r} with {setting} = {value!r}: {reason}")
    if any(other.has_server_half for other in chain if other is not own):
        raise UserError(
            f"mechanisms: {name!r} cannot go with another mechanism that works on the "
            "server: there it finds no single updates"
        )
    if chain[-1] is not own:
        raise UserError(f"mechanisms: {name!r} must be the last: it hides what others change")
