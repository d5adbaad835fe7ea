import sys

import pytest
from flwr.serverapp import strategy as flower

from qmoe_fed.config import Config
from qmoe_fed.errors import UserError
from qmoe_fed.federated.flower.messages import Hosts
from qmoe_fed.federated.flower.strategy import make_strategy
from strategies import Limits, Momentum, RouterStrategy, krum

HOSTS = Hosts((7, 8))

MY_FILE = """
from flwr.serverapp.strategy import FedAvg
from strategies import Mechanism, RouterStrategy

class Careful(RouterStrategy):
    def __init__(self, *args, patience: int = 3, **parts):
        super().__init__(*args, **parts)
        self.patience = patience

class MyAvg(FedAvg):
    def __init__(self, speed=1.0, **arguments):
        super().__init__(**arguments)
        self.speed = speed

class Nothing:
    pass

class Halved(Mechanism):
    def on_client(self, updates, clients, server_round, seed):
        return updates / 2

class Budget(Halved):
    def before_round(self, server_round):
        pass

class Report(Halved):
    def metrics(self):
        return {"epsilon": 1.0}
"""


@pytest.fixture(autouse=True)
def _my_file(tmp_path, monkeypatch):
    (tmp_path / "my_strategies.py").write_text(MY_FILE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield
    sys.modules.pop("my_strategies", None)


def build(**settings):
    flat = {key.replace("_", "-"): value for key, value in settings.items()}
    return make_strategy(Config.from_flat(flat), HOSTS, frozenset({"theta"}))


def test_the_router_strategy_gets_every_setting():
    strategy = build(
        num_clients=30,
        seed=4,
        fraction_train=0.5,
        sampling="poisson",
        max_update_norm=2.0,
        max_weight=50,
        quorum=0.25,
        weighting="uniform",
        aggregator="krum",
        num_byzantine=3,
        server_step="momentum",
        server_learning_rate=0.7,
        server_momentum=0.6,
    )
    assert type(strategy) is RouterStrategy
    assert strategy.hosts is HOSTS
    assert (strategy.num_clients, strategy.seed) == (30, 4)
    assert (strategy.fraction_train, strategy.sampling) == (0.5, "poisson")
    assert strategy.limits == Limits(2.0, 50.0)
    assert (strategy.quorum, strategy.weighting) == (0.25, "uniform")
    assert strategy.aggregator.func is krum
    assert strategy.aggregator.keywords == {"num_byzantine": 3}
    assert strategy.server_step == Momentum(0.7, 0.6)
    assert strategy.mechanisms == ()
    assert strategy.angles == {"theta"}


def test_a_users_subclass_gets_the_same_and_its_options():
    strategy = build(
        strategy="my_strategies:Careful", strategy_options="patience = 9", aggregator="median"
    )
    assert strategy.patience == 9
    assert strategy.aggregator.__name__ == "median"
    assert isinstance(strategy, RouterStrategy)


@pytest.mark.parametrize(
    "name", ["FedAvg", "FedMedian", "FedAdam", "FedAvgM", "FedProx", "FedYogi", "Krum", "Bulyan"]
)
def test_flowers_own_strategies_are_built_for_training_only(name):
    strategy = build(strategy=f"flwr.serverapp.strategy:{name}", fraction_train=0.5)
    assert type(strategy) is getattr(flower, name)
    assert (strategy.fraction_train, strategy.fraction_evaluate) == (0.5, 0.0)
    assert (strategy.min_train_nodes, strategy.min_available_nodes) == (1, 1)
    assert not isinstance(strategy, RouterStrategy)


def test_they_take_options_which_go_before_the_defaults():
    path = "flwr.serverapp.strategy:FedTrimmedAvg"
    strategy = build(strategy=path, strategy_options="beta = 0.3, min_train_nodes = 4")
    assert (strategy.beta, strategy.min_train_nodes) == (0.3, 4)


def test_a_users_flower_strategy_that_passes_arguments_on_gets_the_defaults():
    strategy = build(strategy="my_strategies:MyAvg", strategy_options="speed = 2.0")
    assert (strategy.speed, strategy.fraction_evaluate, strategy.min_train_nodes) == (2.0, 0.0, 1)


def test_flowers_strategies_go_with_mechanisms_that_only_the_clients_run():
    path = "flwr.serverapp.strategy:FedMedian"
    assert type(build(strategy=path, mechanisms="my_strategies:Halved")) is flower.FedMedian
    for kind in ("my_strategies:Budget", "my_strategies:Report", "central-dp"):
        with pytest.raises(UserError, match="would ignore mechanisms"):
            build(strategy=path, mechanisms=kind)


def test_krum_counts_on_the_sample_and_not_on_the_federation():
    krum_settings = {"aggregator": "krum", "num_byzantine": 4, "num_clients": 50}
    build(**krum_settings, fraction_train=0.22)
    build(**krum_settings, fraction_train=0.1, sampling="poisson")
    with pytest.raises(UserError, match="at least 11 clients in a round, there are 5"):
        build(**krum_settings, fraction_train=0.1)


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"strategy": "my_strategies:Nothing"}, "not a class derived from Flower's Strategy"),
        ({"strategy": "my_strategies:Carefull"}, "Did you mean 'Careful'"),
        ({"strategy": "my_strategy:Careful"}, "no module 'my_strategy'"),
        (
            {"strategy": "flwr.serverapp.strategy:FedMedian", "strategy_options": "beta = 0.2"},
            "FedMedian': .*unexpected keyword argument 'beta'",
        ),
        (
            {"strategy": "flwr.serverapp.strategy:FedTrimmedAvg", "strategy_options": "beta = 2.0"},
            "FedTrimmedAvg': `beta` must be in the range",
        ),
        (
            {"strategy": "flwr.serverapp.strategy:DifferentialPrivacyServerSideFixedClipping"},
            "missing 4 required positional arguments",
        ),
        ({"strategy_options": "patience = 3"}, "unexpected keyword argument 'patience'"),
        (
            {"strategy": "my_strategies:Careful", "strategy_options": "quorum = 0.9, seed = 1"},
            "strategy-options: quorum, seed have settings of their own",
        ),
        (
            {
                "strategy": "flwr.serverapp.strategy:FedAvg",
                "sampling": "poisson",
                "aggregator": "median",
            },
            "would ignore aggregator, sampling: only strategy = 'router'",
        ),
    ],
)
def test_what_cannot_be_built_is_refused(settings, reason):
    with pytest.raises(UserError, match=reason):
        build(**settings)
