"""What cannot hold under a secure sum is refused before a run starts."""

import pytest

from qmoe_fed.config import Config
from qmoe_fed.errors import UserError
from qmoe_fed.federated.build import make_rules
from qmoe_fed.federated.flower.messages import Hosts
from qmoe_fed.federated.flower.strategy import make_strategy
from strategies import Mechanism


class Shrinking(Mechanism):
    """A user's mechanism that works on the clients."""

    def on_client(self, updates, clients, server_round, seed):
        return updates / 2


class Looking(Mechanism):
    """A user's mechanism that works on the server."""

    def on_server(self, cohort, aggregate, server_round, seed):
        return aggregate(cohort)


BASE = {"mechanisms": "secure-sum", "num-clients": 50}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"aggregator": "median"}, "with aggregator = 'median': only a mean is made of a sum"),
        ({"aggregator": "krum"}, "with aggregator = 'krum'"),
        ({"max-update-norm": 2.0}, "max-update-norm = 2.0: the server sees no norms"),
        ({"sampling": "poisson"}, "sampling = 'poisson': how few may survive"),
        ({"corrupt-fraction": 0.0}, "corrupt-fraction = 0.0: with more than 20 clients"),
        ({"clip-norm": 500.0}, "clip-norm = 500.0: a mean longer than 100"),
        ({"weighting": "examples", "layers": "1..2"}, "weighting = 'examples': clients that train"),
        ({"mechanisms": "secure-sum,central-dp", "quorum": 0.0}, "works on the server"),
        ({"mechanisms": "central-dp,secure-sum", "quorum": 0.0}, "must be the last and the only"),
        ({"mechanisms": f"{__name__}:Looking,secure-sum"}, "another mechanism that works on the"),
        ({"mechanisms": f"secure-sum,{__name__}:Shrinking"}, "'secure-sum' must be the last"),
        ({"mechanisms": "secure-sum,secure-sum"}, "another mechanism that works on the server"),
        ({"fraction-train": 0.1}, "of 5 clients in a round as few as 4 may be left, and 5 of"),
        ({"num-clients": 2}, "no committee of at most 2 among 2 clients"),
        ({"corrupt-fraction": 0.5, "dropout-fraction": 0.5}, "no committee"),
        ({"fixed-point-bits": 50}, "take fewer bits"),
        ({"fixed-point-bits": 0}, "fixed-point-bits = 0: must be in"),
        ({"weighting": "examples", "fixed-point-bits": 40}, "take fewer bits"),
    ],
)
def test_it_is_refused_with_a_reason(changes, message):
    with pytest.raises(UserError, match=message):
        make_rules(Config.from_flat({**BASE, **changes}))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"aggregator": "median"}, "'encrypted-sum' with aggregator = 'median': only a mean is"),
        ({"aggregator": "krum"}, "with aggregator = 'krum'"),
        ({"max-update-norm": 2.0}, "max-update-norm = 2.0: the server sees no norms"),
        ({"sampling": "poisson"}, "sampling = 'poisson': how few may survive"),
        ({"clip-norm": 500.0}, "clip-norm = 500.0: a mean longer than 100"),
        ({"malicious-server": True}, "malicious-server = True: who has the key opens what"),
        ({"key-client": 50}, "key-client = 50: clients are 0 to 49"),
        ({"key-client": -2}, "key-client = -2: must be at least -1"),
        ({"he-scheme": "rsa"}, "unknown he-scheme 'rsa'"),
        ({"mechanisms": "encrypted-sum,secure-sum"}, "another mechanism that works on the server"),
        ({"mechanisms": f"encrypted-sum,{__name__}:Shrinking"}, "'encrypted-sum' must be the last"),
        ({"fraction-train": 0.1}, "of 5 clients in a round as few as 4 may be left, and 5 of"),
        ({"weighting": "examples", "fixed-point-bits": 40}, "take fewer bits"),
        ({"num-clients": 30_000}, "the noise of 30000 ciphertexts may not fit"),
    ],
)
def test_under_an_encrypted_sum_too(changes, message):
    with pytest.raises(UserError, match=message):
        make_rules(Config.from_flat({**BASE, "mechanisms": "encrypted-sum", **changes}))


def test_nothing_that_is_shared_leaves_in_clear():
    config = Config.from_flat({**BASE, "mechanisms": "encrypted-sum"})
    (mechanism,) = make_rules(config).mechanisms
    more = Config.from_flat({**config.to_flat(), "expert-fit": "gradient", "share": "all"})
    with pytest.raises(UserError, match=r"\d+ parameters are shared .*, but 9 would be encrypted"):
        mechanism.check(more, [mechanism])


@pytest.mark.parametrize("kind", ["flwr.serverapp.strategy:FedAvg", f"{__name__}:Own"])
def test_strategies_that_see_updates_are_refused(kind):
    config = Config.from_flat({**BASE, "strategy": kind})
    with pytest.raises(UserError, match=r"would ignore mechanisms|others would look at single"):
        make_strategy(config, Hosts(), frozenset())


def __getattr__(name):
    from strategies import RouterStrategy

    if name == "Own":
        return type("Own", (RouterStrategy,), {})
    raise AttributeError(name)


@pytest.mark.parametrize(
    "changes",
    [
        {"mechanisms": f"{__name__}:Shrinking,secure-sum"},
        {"num-clients": 2, "corrupt-fraction": 0.0, "dropout-fraction": 0.0},
        {"num-clients": 3, "corrupt-fraction": 0.0, "dropout-fraction": 0.0},
        {"num-clients": 1000, "malicious-server": True},
        {"num-clients": 100_000, "malicious-server": True, "fixed-point-bits": 20},
        {"quorum": 0.0},
        {"quorum": 1.0},
        {"mechanisms": f"{__name__}:Shrinking,encrypted-sum", "key-client": -1},
        {"mechanisms": "encrypted-sum", "num-clients": 20_000},
    ],
)
def test_what_can_hold_is_built(changes):
    rules = make_rules(Config.from_flat({**BASE, **changes}))
    assert rules.mechanisms[-1].bytes_up() > 0
