"""Hosts that are late or dead in a phase of a hidden sum, and questions that they refuse."""

import pytest
from flwr.app import ConfigRecord, Message, RecordDict
from secure_runs import CLIENTS, secure
from small_federation import SpyGrid, outcome

from qmoe_fed.federated.flower.grid import task_identity

PHASES = ("shares", "report", "echo", "sums")


def phase_of(message):
    kind = message.metadata.message_type
    if kind == "train":
        return message.content["config"]["server-round"], "shares"
    if kind == "query.hidden" and message.content["hidden"].get("kind") == 0:
        return message.content["hidden"]["round"], message.content["config"]["phase"]
    return None


def losing(lost):
    """Return a grid on which some hosts' answers come too late: {(round, phase): hosts}."""

    class Losing(SpyGrid):
        def deliver(self, messages, timeout):
            replies = super().deliver(messages, timeout)
            nodes = self.get_node_ids()
            return [
                reply
                for message, reply in zip(messages, replies, strict=True)
                if nodes.index(message.metadata.dst_node_id) not in lost.get(phase_of(message), ())
            ]

    return Losing


def phases_of(grid, number):
    """Return the phases of a round in which hosts were asked, in order."""
    found = [phase_of(message) for message in grid.sent]
    return list(dict.fromkeys(phase for at, phase in filter(None, found) if at == number))


@pytest.mark.parametrize("phase", PHASES)
def test_a_round_goes_on_above_the_threshold_and_opens_nothing_below_it(tmp_path, phase):
    lost = {(1, phase): [2, 5], (2, phase): [2, 5, 6]}
    settings = {"malicious_server": True, "num_unseen_clients": 0}
    grid, folder = secure(tmp_path / "run", CLIENTS, losing(lost), **settings)
    rounds = outcome(folder)["rounds"]
    assert [r["train"]["round-counted"] for r in rounds[1:]] == [1, 0, 1]
    left_out = [2, 5] if phase == "shares" else []
    assert rounds[1]["train"]["clients-rejected"] == left_out
    assert rounds[1]["train"]["clients-accepted"] == CLIENTS - len(left_out)
    assert "needed" in rounds[2]["rejections"][0]["reason"]
    if phase in ("shares", "report"):  # nobody was told a list, so nobody can have opened a sum
        assert phases_of(grid, 2) == ["shares", "report"][: 1 + (phase == "report")]
    assert phases_of(grid, 3) == ["shares", "report", "echo", "sums"]


def test_a_host_that_never_met_the_others_costs_its_clients(tmp_path):
    class Absent(SpyGrid):
        def deliver(self, messages, timeout):
            replies = super().deliver(messages, timeout)
            keys = messages[0].content.config_records.get("config", {}).get("phase") == "keys"
            return replies[1:] if keys else replies

    _, folder = secure(tmp_path / "run", CLIENTS, Absent, num_server_rounds=1)
    result = outcome(folder)
    assert result["rounds"][1]["train"]["clients-rejected"] == [0]
    assert result["summary"]["rounds_counted"] == 1


def test_a_host_that_started_anew_has_no_keys(tmp_path):
    class Forgetting(SpyGrid):
        def deliver(self, messages, timeout):
            if phase_of(messages[0]) == (2, "shares"):
                del next(iter(self.contexts.values())).state["vault"]
            return super().deliver(messages, timeout)

    _, folder = secure(tmp_path / "run", CLIENTS, Forgetting)
    rounds = outcome(folder)["rounds"]
    assert [r["train"].get("clients-rejected") for r in rounds[1:]] == [[], [0], [0]]


def ask(grid, node, message_type, shared, **settings):
    """Ask a host something more, when the run is over."""
    content = RecordDict({"config": ConfigRecord(settings)})
    if shared is not None:
        content["arrays"] = shared
    (reply,) = SpyGrid.deliver(grid, [Message(content, node, message_type)], None)
    return reply


def test_hosts_tell_no_client_apart_whatever_they_are_asked(tmp_path):
    grid, _ = secure(tmp_path / "run", num_server_rounds=1)
    sent = list(grid.sent)
    (train, *_) = [m for m in sent if m.metadata.message_type == "train"]
    node, shared = train.metadata.dst_node_id, train.content["arrays"]
    with task_identity():
        for kind in ("evaluate.routing", "evaluate.unseen"):
            reply = ask(grid, node, kind, shared, clients=[0, 2])
            assert "let no table of training clients leave a host" in reply.error.reason
        about = {"clients": [0], "server-round": 1}
        assert "a sum of kind -1" in ask(grid, node, "evaluate", shared, **about).error.reason
        assert "summed in another" in ask(grid, node, "train", shared, **about).error.reason
        for message in sent:  # what was trained is not summed as scores, nor as another round
            mine = message.metadata.dst_node_id == node
            if mine and message.metadata.message_type in ("train", "evaluate"):
                kind = message.content["hidden"]["kind"]
                message.content["hidden"]["kind"] = 1 - kind
                again = Message(message.content, node, message.metadata.message_type)
                (reply,) = SpyGrid.deliver(grid, [again], None)
                assert "not what this host has just done" in reply.error.reason
                message.content["hidden"]["kind"] = kind
        again = Message(train.content, node, "train")
        (reply,) = SpyGrid.deliver(grid, [again], None)
        assert "vectors were already shared in round 1" in reply.error.reason
        later = [m for m in grid.sent if phase_of(m) == (1, "sums")]
        (reply,) = SpyGrid.deliver(grid, [Message(later[0].content, node, "query.hidden")], None)
        assert "holds no shares of that attempt" in reply.error.reason


def test_a_host_takes_no_part_in_a_run_that_hides_nothing(tmp_path):
    grid, _ = secure(tmp_path / "run", mechanisms="", num_server_rounds=1)
    train = next(m for m in grid.sent if m.metadata.message_type == "train")
    with task_identity():
        reply = ask(grid, train.metadata.dst_node_id, "query.hidden", None, phase="keys")
    assert "name no mechanism that hides rows" in reply.error.reason
