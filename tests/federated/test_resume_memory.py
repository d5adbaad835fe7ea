"""What would be forgotten is never gone on without."""

import pytest
from flwr.serverapp.strategy import FedAvg
from small_federation import federate
from stopped_runs import PRIVATE, SHORT, assert_same_bits, stop, timeless

from qmoe_fed.errors import UserError
from strategies import CentralDP, Mechanism, RouterStrategy


class Forgetful(Mechanism):
    """Counts its rounds and does not say so."""

    def before_round(self, server_round):
        self.rounds = getattr(self, "rounds", 0) + 1


class HalfSaved(Forgetful):
    """Does not restore what it saves."""

    def state_dict(self):
        return {"rounds": self.rounds}


class Halves(Mechanism):
    """Remembers nothing on the server."""

    def on_client(self, updates, clients, server_round, seed):
        return updates / 2


class LikeCentralDP(CentralDP):
    pass


class Drifting(RouterStrategy):
    """Remembers more than what it inherits knows of."""

    drift = 0.0


class Awkward(RouterStrategy):
    def state_dict(self):
        return {"history": [1, 2]}

    def load_state_dict(self, state):
        raise NotImplementedError


class LikeFedAvg(FedAvg):
    pass


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"strategy": "flwr.serverapp.strategy:FedAdam"}, "FedAdam"),
        ({"strategy": "flwr.serverapp.strategy:FedAvgM"}, "FedAvgM"),
        ({"strategy": "test_resume_memory:LikeFedAvg"}, "LikeFedAvg"),
        ({"strategy": "test_resume_memory:Drifting"}, "Drifting"),
        ({"mechanisms": "test_resume_memory:Forgetful"}, "Forgetful"),
        ({"mechanisms": "test_resume_memory:HalfSaved"}, "HalfSaved"),
        ({**PRIVATE, "mechanisms": "test_resume_memory:LikeCentralDP"}, "LikeCentralDP"),
        ({"checkpoint_every": 0}, ""),
    ],
)
def test_what_would_be_forgotten_is_never_gone_on_without(tmp_path, capsys, settings, name):
    settings = {**SHORT, **settings}
    stop(tmp_path / "run", 3, **settings)
    expected = f"cannot go on: {name} does not define state_dict" if name else "round 0/4"
    assert expected in capsys.readouterr().out
    with pytest.raises(UserError, match="left no checkpoint"):
        federate(tmp_path / "run", 2, resume=True, **settings)


def test_a_client_half_needs_no_state(tmp_path):
    settings = {**SHORT, "mechanisms": "test_resume_memory:Halves"}
    whole = timeless(federate(tmp_path / "whole", 2, **settings)[1])
    stop(tmp_path / "run", 3, **settings)
    federate(tmp_path / "run", 2, resume=True, **settings)
    assert_same_bits(whole, timeless(tmp_path / "run"))


def test_a_state_that_cannot_be_written_ends_the_run_before_its_first_round(tmp_path):
    with pytest.raises(UserError, match=r"history is \[1, 2\], expected a number or a tensor"):
        federate(tmp_path / "run", strategy="test_resume_memory:Awkward")
    assert not (tmp_path / "run" / "metrics.jsonl").exists()
