"""Hosts that fail or answer nonsense do not end a run."""

import json

import numpy as np
import pytest
from flwr.app import Array, Error, Message
from small_federation import SpyGrid, federate, outcome

from qmoe_fed.errors import UserError
from qmoe_fed.federated.flower.grid import FIRST_NODE


class BrokenClients(SpyGrid):
    """Hosts that answer training with an error in some rounds."""

    broken_rounds = (2,)

    def deliver(self, messages, timeout):
        replies = super().deliver(messages, timeout)
        return [
            Message(Error(code=0, reason="out of order"), reply_to=message)
            if message.metadata.message_type == "train"
            and message.content["config"]["server-round"] in self.broken_rounds
            else reply
            for message, reply in zip(messages, replies, strict=True)
        ]


class AlwaysBroken(BrokenClients):
    broken_rounds = (1, 2, 3)


def test_a_round_that_fails_leaves_the_router_as_it_was_and_the_run_goes_on(tmp_path):
    _, folder = federate(tmp_path / "run", grid_type=BrokenClients)
    result = outcome(folder)
    assert result["summary"]["status"] == "completed"
    assert result["summary"]["rounds_counted"] == 2
    failed = result["rounds"][2]
    assert failed["train"]["round-counted"] == 0
    assert [r["client"] for r in failed["rejections"]] == [0, 1, 2, 3, 4, 5]
    assert "out of order" in failed["rejections"][0]["reason"]


def without_metrics(reply):
    reply.content.pop("metrics")


def without_arrays(reply):
    reply.content.pop("arrays", None)


def unreadable(reply):
    for name, array in reply.content.get("arrays", {}).items():
        reply.content["arrays"][name] = Array(array.dtype, array.shape, array.stype, b"junk")


def of_other_clients(reply):
    reply.content["metrics"]["client"] = [0, 2, 4]


def of_no_list(reply):
    reply.content["metrics"]["client"] = 3


def with_a_short_metric(reply):
    name = next(name for name in reply.content["metrics"] if name != "client")
    reply.content["metrics"][name] = [0.5]


def without_a_metric(reply):
    name = next(name for name in reply.content["metrics"] if name != "client")
    del reply.content["metrics"][name]


@pytest.mark.parametrize("message_type", ["train", "evaluate"])
@pytest.mark.parametrize(
    "damage",
    [
        without_metrics,
        without_arrays,
        unreadable,
        of_other_clients,
        of_no_list,
        with_a_short_metric,
        without_a_metric,
    ],
)
def test_a_host_whose_answers_are_damaged_does_not_end_the_run(tmp_path, damage, message_type):
    class DamagedHost(SpyGrid):
        def deliver(self, messages, timeout):
            replies = super().deliver(messages, timeout)
            for message, reply in zip(messages, replies, strict=True):
                second = message.metadata.dst_node_id == FIRST_NODE + 1
                if message.metadata.message_type == message_type and second:
                    damage(reply)
            return replies

    _, folder = federate(tmp_path / "run", supernodes=2, grid_type=DamagedHost, num_server_rounds=2)
    result = outcome(folder)
    assert result["summary"]["status"] == "completed"
    assert result["summary"]["rounds_counted"] == 2
    assert result["summary"]["bytes_up_per_client_round"] == 24
    assert np.isfinite(result["summary"]["accuracy_mean"])
    left_out = [rejection["client"] for rejection in result["rounds"][1]["rejections"]]
    if message_type == "train":
        assert set(left_out) >= {1, 3, 5}
    else:
        of_scores = damage not in (without_arrays, unreadable)  # a score has no arrays
        scored = json.loads((folder / "clients.json").read_text())["client"]
        assert scored == ([0, 2, 4] if of_scores else list(range(6)))


def test_a_run_in_which_nothing_counts_fails_and_says_so(tmp_path):
    with pytest.raises(
        RuntimeError, match=r"not one round .* of 2 tried .*client 0: .*out of order"
    ):
        federate(tmp_path / "run", grid_type=AlwaysBroken, figures=True)
    assert '"failed"' in (tmp_path / "run" / "summary.json").read_text()
    page = (tmp_path / "run" / "report.html").read_text()
    assert "failed: RunFailed: not one round of training counted, of 2 tried" in page
    assert "6 clients left out of rounds" in page


def test_a_page_that_cannot_be_written_hides_no_failure(tmp_path, monkeypatch, capsys):
    def full(path):
        raise UserError("disk full")

    monkeypatch.setattr("qmoe_fed.results.report.leave", full)
    with pytest.raises(RuntimeError, match="not one round"):
        federate(tmp_path / "run", grid_type=AlwaysBroken, figures=True)
    assert "no report.html: disk full" in capsys.readouterr().out
