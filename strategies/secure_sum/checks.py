"""From the config of a run to its protocol, and what cannot hold under a secure sum."""

from collections.abc import Mapping, Sequence

from qmoe_fed.config import Config
from qmoe_fed.errors import UserError
from qmoe_fed.federated.mechanism import Mechanism
from qmoe_fed.federated.model import Model
from qmoe_fed.federated.rules import sample_size
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


def blocks(config: Config) -> dict[str, tuple[Block, ...]]:
    """Return what the rows of a run consist of, by ``KINDS``.

    A row of training is the update, the loss and, where examples are weights, their number, by
    which the update is multiplied.
    """
    bits, clip = config.privacy.fixed_point_bits, config.privacy.clip_norm
    weighted = config.strategy.weighting == "examples"
    most = config.strategy.max_weight if weighted else 1.0
    train = [Block(Model(config).layout.size, clip * most, bits), Block(1, LARGEST, bits)]
    train += [Block(1, most, bits)] * weighted
    return {"train": tuple(train), "score": (Block(1, LARGEST, bits),) * len(scores(config))}


def protocol(config: Config) -> dict[str, Settings]:
    """Return the settings of the sums of a run, by ``KINDS``; UserError if they cannot work."""
    federation, privacy = config.federation, config.privacy
    clients, corrupt = federation.num_clients, privacy.corrupt_fraction
    dropouts = privacy.dropout_fraction
    members, threshold = committee_size(clients, corrupt, dropouts, privacy.malicious_server)
    contributors = sample_size(clients, federation.fraction_train)
    many = {"train": contributors, "score": clients}
    return {
        kind: Settings(
            f"seed {federation.seed}",
            clients,
            rows,
            members,
            threshold,
            least_survivors(many[kind], clients, corrupt, dropouts),
            privacy.malicious_server,
            rounds=federation.num_server_rounds + 1,
        )
        for kind, rows in blocks(config).items()
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
            "how few may survive must be known before; use 'fixed'",
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
