"""Small runs with hidden sums, and what travelled in them."""

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord
from small_federation import SMALL, SpyGrid, federate

from qmoe_fed.config import Config
from qmoe_fed.federated.federation import Federation
from strategies.secure_sum import checks
from strategies.secure_sum.rows import integers

CLIENTS = 12
SECURE = {"mechanisms": "secure-sum", "num_clients": CLIENTS, "clip_norm": 0.5}
"""All are on the committee; 10 of them open a sum of at least 10."""


def secure(folder, supernodes=2, grid_type=SpyGrid, **changes):
    return federate(folder, supernodes, grid_type, **{**SECURE, **changes})


def everything(messages):
    """Return all that messages hold: bytes, and numbers."""
    raw, numbers = [], []
    for message in messages:
        if message.has_error():
            raw.append(message.error.reason.encode())
            continue
        for record in message.content.values():
            for value in record.values():
                if isinstance(record, ArrayRecord):
                    raw.append(value.numpy().tobytes())
                    value = value.numpy().ravel().tolist()
                if isinstance(value, bytes):
                    raw.append(value)
                elif not isinstance(value, str):
                    numbers += value if isinstance(value, list) else [value]
    return b"|".join(raw), np.array([n for n in numbers if not isinstance(n, str)], float)


def is_hidden(message):
    """Return whether a message has one record, of a hidden sum."""
    (record,) = message.content.items()
    return record[0] == "hidden" and isinstance(record[1], ConfigRecord)


def rows_of_a_round(folder, **changes):
    """Return what clients have in the first round: updates, losses, scores, and all as integers."""
    flat = {k.replace("_", "-"): v for k, v in {**SMALL, **SECURE, **changes}.items()}
    federation = Federation(Config.from_flat(flat))
    state = federation.init()
    _, cohort = federation.host.train(state.kept, state.shared, range(CLIENTS), 1)
    table = federation.host.score(state.kept, state.shared, range(CLIENTS))
    of_kind, config = checks.rows(federation.config), federation.config
    sent = [
        integers(config, kind, 1, rows, of_kind[kind])
        for kind, rows in (("train", cohort), ("score", table))
    ]
    return cohort, table, [row for kind in sent for row in kind.values()]
