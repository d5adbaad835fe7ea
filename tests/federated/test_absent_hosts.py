"""Hosts that are gone for some rounds: what they wrote last, and checkpoints without them."""

import pytest
from small_federation import SpyGrid, federate, outcome
from stopped_runs import Power
from test_lost_hosts import SECOND, Restarted, SameId, unavailable

from qmoe_fed.errors import RunFailed, UserError
from qmoe_fed.results import checkpoint

FIVE = {"num_server_rounds": 5, "checkpoint_every": 1, "num_unseen_clients": 0}
FIVE |= {"execution": "serial"}


class Late(SpyGrid):
    """The second host does not answer in some rounds, and keeps what it has."""

    rounds, away = 0, (2,)

    def deliver(self, messages, timeout):
        self.rounds += (kind := messages[0].metadata.message_type) == "train"
        away = [SECOND] if self.rounds in self.away and kind != "query.join" else []
        here = [m for m in messages if m.metadata.dst_node_id not in away]
        gone = [m for m in messages if m not in here]
        return [*super().deliver(here, timeout), *(unavailable(m, None) for m in gone)]


def assert_same_experts(a, b):
    assert a["experts"].keys() == b["experts"].keys()
    for client, experts in a["experts"].items():
        for name, values in experts.items():
            assert values.tobytes() == b["experts"][client][name].tobytes(), (client, name)


@pytest.mark.parametrize("grid", [Restarted, SameId])
def test_a_host_that_comes_back_goes_on_from_its_checkpoint(tmp_path, grid):
    settings = {**FIVE, "keep_optimizer_state": True, "num_server_rounds": 4, "execution": "vmap"}
    late, back = (
        outcome(federate(tmp_path / kind.__name__, 2, kind, evaluate_every=2, **settings)[1])
        for kind in (Late, grid)
    )
    assert [len(line["rejections"]) for line in back["rounds"][1:]] == [0, 3, 0, 0]
    assert (back["summary"]["clients_scored"], back["summary"]["hosts_missing"]) == (6, [])
    assert back["rounds"][4]["accuracy"] == late["rounds"][4]["accuracy"]
    assert back["experts"].keys() == {*range(6)}
    assert_same_experts(late, back)


class Away(Late):
    """As late, and then the power goes."""

    def deliver(self, messages, timeout):
        if messages[0].metadata.message_type == "train" and self.rounds == 4:
            raise Power
        return super().deliver(messages, timeout)


def test_a_dead_host_stops_no_checkpoint_of_the_others(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(Late, "away", (2, 3, 4))
    late = outcome(federate(tmp_path / "late", 2, Late, **FIVE)[1])
    with pytest.raises(Power):
        federate(tmp_path / "run", 2, Away, **FIVE)
    content = checkpoint.read_current(tmp_path / "run")[1]
    assert (content["round"], content["rounds"]) == (4, [4, 1])
    checkpoint.check_whole(tmp_path / "run")
    grid, _ = federate(tmp_path / "run", 3, resume=True, **FIVE)  # on other hosts
    told = "going on after round 4; host 1 with what it wrote after round 1\n"
    assert told in capsys.readouterr().out
    assert sum(m.metadata.message_type == "train" for m in grid.sent) == 3
    result = outcome(tmp_path / "run")
    for name, values in late["shared"].items():
        assert values.tobytes() == result["shared"][name].tobytes()
    assert_same_experts(late, result)


@pytest.mark.parametrize("fit", ["solve", "gradient"])
def test_what_a_host_never_wrote_is_not_made_up(tmp_path, monkeypatch, fit):
    monkeypatch.setattr(Late, "away", (1, 2, 3, 4))
    with pytest.raises(Power):
        federate(tmp_path / "run", 2, Away, expert_fit=fit, **FIVE)
    assert checkpoint.read_current(tmp_path / "run")[1]["rounds"] == [4, 0]
    checkpoint.check_whole(tmp_path / "run")
    if fit == "gradient":
        with pytest.raises(UserError, match=r"after round 4: host 1: .* came to no checkpoint"):
            federate(tmp_path / "run", 2, resume=True, expert_fit=fit, **FIVE)
    else:
        federate(tmp_path / "run", 2, resume=True, expert_fit=fit, **FIVE)
        assert outcome(tmp_path / "run")["summary"]["clients_scored"] == 6


@pytest.mark.parametrize("strategy", ["router", "flwr.serverapp.strategy:FedAvg"])
def test_a_run_without_any_host_ends_after_two_rounds(tmp_path, caplog, strategy):
    class Frozen(SpyGrid):
        rounds = 0

        def deliver(self, messages, timeout):
            self.rounds += messages[0].metadata.message_type == "train"
            self.sent += messages
            return super().deliver(messages, timeout) if self.rounds < 3 else []

    grids = []

    class Kept(Frozen):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            grids.append(self)

    settings = {**FIVE, "strategy": strategy}
    with pytest.raises(
        RunFailed, match=r"^all hosts failed in rounds 3 and 4.*the log says of all"
    ):
        federate(tmp_path / "run", 1, Kept, **settings)
    assert caplog.text.count("host 0: did not answer in time") == 1
    last = [m.metadata.message_type for m in grids[0].sent]
    assert last[last.index("train", last.index("evaluate", -5)) :] == [
        "train",
        "query.join",
        "train",
    ]
    assert checkpoint.read_current(tmp_path / "run")[1]["round"] == 2
    federate(tmp_path / "run", 1, resume=True, **settings)
    assert outcome(tmp_path / "run")["summary"]["rounds_counted"] == 5
