"""From the config of a run to its protocol, and what cannot hold under a secure sum."""

from collections.abc import Sequence

from qmoe_fed.config import Config
from qmoe_fed.errors import UserError
from qmoe_fed.federated.mechanism import Mechanism
from qmoe_fed.federated.model import Model
from qmoe_fed.federated.rules import sample_size
from strategies.secure_sum.fixed_point import Block
from strategies.secure_sum.parameters import ALL_MEMBERS, committee_size, least_survivors
from strategies.secure_sum.settings import Settings

KINDS = ("train", "score")
"""What is summed."""

LARGEST = 100.0
"""What a loss or a score counts at most."""


def scores(config: Config) -> list[str]:
    """Return which columns of a table of scores are summed."""
    loads = [f"load-{i}" for i in range(config.model.num_experts)]
    return ["accuracy", "loss", "routing-entropy", *loads]


def protocol(config: Config) -> dict[str, Settings]:
    """Return the settings of the sums of a run, by ``KINDS``; UserError if they cannot work.

    A row of training is the update, the loss and, where examples are weights, their number, by
    which the update is multiplied.
    """
    federation, privacy = config.federation, config.privacy
    clients, bits = federation.num_clients, privacy.fixed_point_bits
    corrupt, dropouts = privacy.corrupt_fraction, privacy.dropout_fraction
    members, threshold = committee_size(clients, corrupt, dropouts, privacy.malicious_server)
    weighted = config.strategy.weighting == "examples"
    most = config.strategy.max_weight if weighted else 1.0
    size = Model(config).layout.size
    train = [Block(size, privacy.clip_norm * most, bits), Block(1, LARGEST, bits)]
    train += [Block(1, most, bits)] * weighted
    score = [Block(1, LARGEST, bits)] * len(scores(config))
    contributors = sample_size(clients, federation.fraction_train)
    rows = {"train": (train, contributors), "score": (score, clients)}
    return {
        kind: Settings(
            f"seed {federation.seed}",
            clients,
            tuple(blocks),
            members,
            threshold,
            least_survivors(many, clients, corrupt, dropouts),
            privacy.malicious_server,
            rounds=federation.num_server_rounds + 1,
        )
        for kind, (blocks, many) in rows.items()
    }


def refuse(own: Mechanism, config: Config, chain: Sequence[Mechanism]) -> None:
    """Refuse settings that need what the server does not see, or would not protect.

    Raises:
        UserError: There are such settings.
    """
    strategy, clients = config.strategy, config.federation.num_clients
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
        "corrupt-fraction": (
            config.privacy.corrupt_fraction > 0 or clients <= ALL_MEMBERS,
            f"with more than {ALL_MEMBERS} clients a committee is drawn, which takes a number",
        ),
        "clip-norm": (
            config.privacy.clip_norm <= Model(config).max_update_norm,
            f"a mean longer than {Model(config).max_update_norm:g} would be left out",
        ),
        "weighting": (
            strategy.weighting == "uniform" or len(config.model.depths) == 1,
            "clients that train different layers are not weighted by examples",
        ),
    }
    for name, (holds, reason) in reasons.items():
        if not holds:
            value = config.to_flat()[name]
            raise UserError(f"mechanisms = 'secure-sum' with {name} = {value!r}: {reason}")
    if any(other.has_server_half for other in chain if other is not own):
        raise UserError(
            "mechanisms: 'secure-sum' cannot go with another mechanism that works on the "
            "server: there it finds no single updates"
        )
    if chain[-1] is not own:
        raise UserError("mechanisms: 'secure-sum' must be the last: it hides what others change")
