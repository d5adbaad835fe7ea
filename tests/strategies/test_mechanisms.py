import sys

import numpy as np
import pytest
import torch
from played_rounds import ask, make_strategy, play, updates_of, vector

from qmoe_fed import rng
from qmoe_fed.config import Config
from qmoe_fed.errors import UserError
from qmoe_fed.federated.mechanism import on_server
from strategies import CentralDP, Mechanism, make_mechanisms

LOCAL_NOISE = """
import torch
from qmoe_fed import rng
from strategies import Mechanism

class LocalNoise(Mechanism):
    def __init__(self, scale: float = 1.0):
        self.scale = scale

    def on_client(self, updates, clients, server_round, seed):
        noise = rng.normal(seed, "local-noise", clients, updates.shape[1:], server_round)
        return updates + self.scale * torch.from_numpy(noise)

class Choosy(LocalNoise):
    def __init__(self, scale: float = 1.0):
        if scale <= 0:
            raise ValueError("scale must be above 0")

class NotOne:
    pass
"""


@pytest.fixture
def my_file(tmp_path, monkeypatch):
    (tmp_path / "my_privacy.py").write_text(LOCAL_NOISE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield "my_privacy:LocalNoise"
    sys.modules.pop("my_privacy", None)


def made(**settings):
    flat = {key.replace("_", "-"): value for key, value in settings.items()}
    return make_mechanisms(Config.from_flat(flat))


class Trace(Mechanism):
    """Scales by a number on the way in and adds it on the way out."""

    def __init__(self, number, log):
        self.number, self.log = number, log

    def before_round(self, server_round):
        self.log.append(("before", self.number, server_round))

    def on_server(self, cohort, aggregate, server_round, seed):
        self.log.append(("in", self.number, seed))
        result = aggregate(cohort)
        self.log.append(("out", self.number, len(cohort.clients)))
        return result * self.number

    def metrics(self):
        return {f"number-{self.number}": float(self.number)}


def test_a_mechanism_that_overrides_nothing_changes_nothing():
    nothing = Mechanism()
    updates = torch.ones(2, 3)
    assert nothing.on_client(updates, [0, 1], 1, 0) is updates
    assert not nothing.has_server_half
    assert nothing.metrics() == nothing.state_dict() == {}
    with_it, _ = play(make_strategy(mechanisms=[nothing]))
    assert vector(with_it).tobytes() == vector(play(make_strategy())[0]).tobytes()


def test_server_halves_wrap_each_other_the_first_outermost():
    log: list = []
    strategy = make_strategy(mechanisms=[Trace(2, log), Trace(3, log)], seed=7)
    arrays, metrics = play(strategy, {4: None}, server_round=5)
    assert log == [
        ("before", 2, 5),
        ("before", 3, 5),
        ("in", 2, 7),
        ("in", 3, 7),
        ("out", 3, 5),
        ("out", 2, 5),
    ]
    expected = 6 * updates_of([0, 1, 2, 3, 5]).astype(float).mean(0)
    np.testing.assert_allclose(vector(arrays), expected, atol=1e-6)
    assert (metrics["number-2"], metrics["number-3"]) == (2.0, 3.0)
    assert Trace(2, log).has_server_half


def test_without_mechanisms_only_the_aggregator_is_left():
    assert on_server((), "cohort", lambda rows: rows + "!", 1, 0) == "cohort!"


def test_a_mechanism_whose_round_does_not_count_is_not_asked_to_aggregate():
    log: list = []
    play(make_strategy(mechanisms=[Trace(2, log)]), dict.fromkeys(range(6), None))
    assert log == [("before", 2, 1)]


def test_a_mechanism_can_end_the_run():
    from flwr.serverapp.exception import PrivacyBudgetExhausted

    class Limited(Mechanism):
        def before_round(self, server_round):
            if server_round > 2:
                raise PrivacyBudgetExhausted("that was it")

    strategy = make_strategy(mechanisms=[Limited()])
    ask(strategy, 2)
    with pytest.raises(PrivacyBudgetExhausted, match="that was it"):
        ask(strategy, 3)


def test_no_mechanisms_by_default():
    assert made() == made(mechanisms=" , ") == ()


def test_the_built_in_one_takes_the_settings_of_the_config():
    (mechanism,) = made(
        mechanisms="central-dp",
        clip_norm=0.3,
        noise_multiplier=2.5,
        delta=1e-6,
        num_clients=40,
        fraction_train=0.25,
        max_epsilon=9.0,
    )
    assert isinstance(mechanism, CentralDP)
    assert (mechanism.clip_norm, mechanism.noise_multiplier) == (0.3, 2.5)
    assert (mechanism.denominator, mechanism.max_epsilon) == (10.0, 9.0)
    accountant = mechanism.accountant
    assert (accountant.noise_multiplier, accountant.sampling_rate, accountant.delta) == (
        2.5,
        0.25,
        1e-6,
    )


def test_a_users_mechanism_is_named_by_its_file_and_given_its_options(my_file):
    chain = made(mechanisms=f"{my_file}, central-dp", mechanism_options="scale = 0.5")
    assert [type(mechanism).__name__ for mechanism in chain] == ["LocalNoise", "CentralDP"]
    updates = torch.zeros(3, 4, dtype=torch.float64)
    sent = chain[0].on_client(updates, [5, 6, 9], 2, 1)
    expected = 0.5 * rng.normal(1, "local-noise", [5, 6, 9], (4,), 2)
    np.testing.assert_array_equal(sent.numpy(), expected)
    (default,) = made(mechanisms=my_file)
    assert default.scale == 1.0


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"mechanisms": "centraldp"}, "unknown mechanism 'centraldp'. Did you mean 'central-dp'"),
        ({"mechanisms": "my_privacy:LocalNois"}, "in module my_privacy: 'LocalNois'"),
        ({"mechanisms": "my_privacy:NotOne"}, "is not a class derived from strategies.Mechanism"),
        ({"mechanisms": "my_privacy:rng"}, "is not a class derived from strategies.Mechanism"),
        (
            {"mechanisms": "my_privacy:LocalNoise", "mechanism_options": "size = 1"},
            "LocalNoise.*unexpected keyword argument 'size'",
        ),
        (
            {"mechanisms": "my_privacy:Choosy", "mechanism_options": "scale = -1.0"},
            "mechanism 'my_privacy:Choosy'.*scale must be above 0",
        ),
        (
            {"mechanisms": "central-dp", "noise_multiplier": 0.001},
            "^noise-multiplier = 0.001: must be at least",
        ),
        (
            {"mechanisms": "central-dp", "mechanism_options": "clip = 1"},
            "the one mechanism that is named by import path; mechanisms names 0 of these",
        ),
        (
            {
                "mechanisms": "my_privacy:LocalNoise,my_privacy:LocalNoise",
                "mechanism_options": "scale = 1",
            },
            "mechanisms names 2 of these",
        ),
    ],
)
def test_what_cannot_be_made_is_refused(my_file, settings, reason):
    with pytest.raises(UserError, match=reason):
        made(**settings)
