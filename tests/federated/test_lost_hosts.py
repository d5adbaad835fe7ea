"""Hosts that die, come back, cannot write or report nonsense cost their own clients alone."""

import json

import numpy as np
import pytest
from flwr.app import Error, Message, RecordDict
from small_federation import SpyGrid, federate, outcome

from qmoe_fed.errors import RunFailed, UserError
from qmoe_fed.federated.flower.grid import FIRST_NODE
from qmoe_fed.results import load_run
from qmoe_fed.results.summary import unseen_title

SECOND = FIRST_NODE + 1
FLOWER = "flwr.serverapp.strategy:FedAvg"


def changed(change, kinds=("evaluate",), after=0):
    """Return a grid in which the second host's replies to messages of some types are changed."""

    class Changed(SpyGrid):
        seen = 0

        def deliver(self, messages, timeout):
            kind = messages[0].metadata.message_type
            self.seen += kind == "train"
            if kind not in kinds or self.seen < after:
                return super().deliver(messages, timeout)
            others = [m for m in messages if m.metadata.dst_node_id != SECOND]
            own = [m for m in messages if m not in others]
            replies = super().deliver(others, timeout)
            return [*replies, *(change(m, super(Changed, self)._call) for m in own)]

    return Changed


def unavailable(message, call):
    """Answer as the SuperLink does for a node that is gone."""
    answer = Message(Error(code=3, reason="Node Unavailable"), reply_to=message)
    answer.metadata.__dict__["_src_node_id"] = 1
    return answer


EVERY = ("train", "evaluate", "evaluate.routing", "evaluate.unseen", "query.save")


@pytest.mark.parametrize("strategy", ["router", FLOWER])
def test_a_node_that_dies_is_left_out_and_named(tmp_path, strategy):
    grid = changed(unavailable, (*EVERY, "query.checkpoint"), after=2)
    _, folder = federate(tmp_path / "run", 2, grid, strategy=strategy, checkpoint_every=1)
    result = outcome(folder)
    assert result["summary"]["status"] == "completed"
    assert result["summary"]["clients_scored"] == 3
    assert result["summary"]["hosts_missing"] == [1]
    assert unseen_title(result["summary"]).startswith("2 of 3 unseen clients: ")
    assert [line["accuracy"]["clients"] for line in result["rounds"]] == [6, 6, 3, 3]
    if strategy == "router":
        told = [(r["client"], r["reason"]) for r in result["rounds"][2]["rejections"]]
        assert told == [(c, "its host failed: Node Unavailable") for c in (1, 3, 5)]
    assert result["experts"].keys() == {0, 2, 4}
    with pytest.raises(UserError, match="parameters of client 3 are not in"):
        load_run(folder).predict(3, [[0.0, 0.0]])


BRIEF = {"num_server_rounds": 1, "num_unseen_clients": 0}


@pytest.fixture(scope="module")
def honest(tmp_path_factory):
    return load_run(federate(tmp_path_factory.mktemp("run") / "plain", 2, **BRIEF)[1]).clients


def metric(name, value):
    def change(message, call):
        reply = call(message)
        if value is None:
            reply.content["metrics"].pop(name)
        else:
            reply.content["metrics"][name] = [0.5, value, 0.5]
        return reply

    return change


@pytest.mark.parametrize(
    ("name", "value", "left"),
    [
        ("accuracy", 1e6, [0, 1, 2, 4, 5]),
        ("accuracy", -7.0, [0, 1, 2, 4, 5]),
        ("accuracy", float("nan"), [0, 1, 2, 4, 5]),
        ("loss", float("inf"), [0, 1, 2, 4, 5]),
        ("load-0", 2.0, [0, 1, 2, 4, 5]),
        ("routing-entropy", 3.0, [0, 1, 2, 4, 5]),
        ("loss", None, [0, 2, 4]),
        ("something", 7.0, [0, 1, 2, 3, 4, 5]),
        ("own-speed", 7.0, [0, 1, 2, 3, 4, 5]),
    ],
)
def test_nonsense_of_one_host_changes_no_other(tmp_path, honest, name, value, left):
    _, folder = federate(tmp_path / "run", 2, changed(metric(name, value)), **BRIEF)
    summary = outcome(folder)["summary"]
    own = load_run(folder).clients
    assert own["client"].tolist() == left
    assert summary["clients_scored"] == len(left)
    others = [c for c in left if c % 2 == 0]
    rows = [left.index(c) for c in others]
    assert own["accuracy"][rows].tolist() == honest["accuracy"][others].tolist()
    assert ("something" in own, "own-speed" in own) == (False, name == "own-speed")
    if name == "own-speed":
        np.testing.assert_array_equal(own[name], [np.nan, 0.5, np.nan, 7, np.nan, 0.5])


def failing(message, call):
    return Message(Error(code=0, reason="disk full"), reply_to=message)


def test_a_host_that_cannot_save_its_experts_is_named(tmp_path, capsys):
    _, folder = federate(tmp_path / "run", 2, changed(failing, ("query.save",)))
    assert "experts that are not saved: host 1: disk full" in capsys.readouterr().out
    assert outcome(folder)["summary"]["hosts_missing"] == [1]
    assert load_run(folder).complete.tolist() == [0, 2, 4]


def test_a_round_that_nobody_scores_is_not_the_end(tmp_path):
    class Silent(SpyGrid):
        asked = 0

        def deliver(self, messages, timeout):
            self.asked += messages[0].metadata.message_type == "evaluate"
            mute = messages[0].metadata.message_type == "evaluate" and self.asked in self.mute
            return [] if mute else super().deliver(messages, timeout)

    Silent.mute = (2,)
    _, folder = federate(tmp_path / "run", 2, Silent)
    assert ["accuracy" in line for line in outcome(folder)["rounds"]] == [True, False, True, True]
    Silent.mute = (4,)
    with pytest.raises(RunFailed, match="no host scored its clients after the last round"):
        federate(tmp_path / "other", 2, Silent)
    assert (tmp_path / "other" / "shared.safetensors").exists()


class Restarted(SpyGrid):
    """The second host is started anew after the first round, under another id of Flower's."""

    rounds, node = 0, SECOND + 7

    def deliver(self, messages, timeout):
        self.rounds += (training := messages[0].metadata.message_type == "train")
        if training and self.rounds == 2:
            old = self.contexts.pop(SECOND)
            old.state, old.node_id = RecordDict(), self.node
            self.contexts[self.node] = old
        here = [m for m in messages if m.metadata.dst_node_id in self.contexts]
        gone = [m for m in messages if m not in here]
        return [*super().deliver(here, timeout), *(unavailable(m, None) for m in gone)]


class SameId(Restarted):
    node = SECOND


@pytest.mark.parametrize("grid", [Restarted, SameId])
@pytest.mark.parametrize("fit", ["solve", "gradient"])
def test_no_untrained_expert_is_saved_for_a_trained_one(tmp_path, grid, fit):
    _, folder = federate(tmp_path / "run", 2, grid, expert_fit=fit, num_server_rounds=4)
    result = outcome(folder)
    summary, run = result["summary"], load_run(folder)
    left_out = [len(line["rejections"]) for line in result["rounds"][1:]]
    if fit == "solve":  # there was nothing to lose
        assert left_out == [0, 3, 0, 0]
        assert (summary["clients_scored"], summary["hosts_missing"]) == (6, [])
    else:
        assert left_out == [0, 3, 3, 3]
        assert (
            "what it kept of its clients is lost" in result["rounds"][4]["rejections"][0]["reason"]
        )
        assert (summary["clients_scored"], summary["hosts_missing"]) == (3, [1])
    saved = list(range(6)) if fit == "solve" else [0, 2, 4]
    assert run.complete.tolist() == saved == run.clients["client"].tolist()
    for client in saved:
        test = run.raw([client]).test
        accuracy = (run.predict(client, test.x[0]).argmax(1) == test.y[0].numpy()).mean()
        assert accuracy == pytest.approx(run.clients["accuracy"][saved.index(client)])


def test_a_host_writes_where_it_is_told_to(tmp_path):
    class Elsewhere(SpyGrid):
        def __init__(self, *args):
            super().__init__(*args)
            self.contexts[SECOND].node_config["output-dir"] = str(tmp_path / "node")

    _, folder = federate(tmp_path / "run", 2, Elsewhere, checkpoint_every=1)
    assert [file.name for file in (folder / "experts").iterdir()] == ["host-0.safetensors"]
    own = tmp_path / "node" / "run"
    assert (own / "experts" / "host-1.safetensors").exists()
    assert (own / "checkpoint" / "a" / "host-1.safetensors").exists()
    assert json.loads((folder / "summary.json").read_text())["hosts_missing"] == []
