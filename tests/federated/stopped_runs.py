"""Runs that are stopped on purpose, and what they left."""

from pathlib import Path

import pytest
from flwr.app import Error, Message
from small_federation import SpyGrid, federate, outcome

PRIVATE = {"mechanisms": "central-dp", "noise_multiplier": 2.0, "quorum": 0.0}
PRIVATE |= {"noise_source": "seed"}


class Power(BaseException):
    """The power goes; nothing of ours catches this."""


def stopping_at(count: int, message_type: str = "train"):
    """Return a grid that stops the run instead of sending messages of a type the n-th time."""

    class Stopping(SpyGrid):
        left = count

        def deliver(self, messages, timeout):
            if messages[0].metadata.message_type == message_type:
                self.left -= 1
                if not self.left:
                    raise Power
            return super().deliver(messages, timeout)

    return Stopping


def stop(folder: Path, count: int, message_type: str = "train", supernodes: int = 2, **settings):
    with pytest.raises(Power):
        federate(folder, supernodes, stopping_at(count, message_type), **settings)


def timeless(folder: Path) -> dict:
    """Return all a run left, as text where it is text, without the times."""
    result = outcome(folder)
    result["summary"].pop("wall_seconds")
    for record in result["rounds"]:
        record.pop("seconds")
    tables = {name: (folder / name).read_text() for name in ("clients.json", "unseen.json")}
    return {**result, **tables}


def assert_same_bits(a: dict, b: dict) -> None:
    for name, values in a["shared"].items():
        assert values.tobytes() == b["shared"][name].tobytes()
    assert a["experts"].keys() == b["experts"].keys()
    for client, experts in a["experts"].items():
        for name, values in experts.items():
            assert values.tobytes() == b["experts"][client][name].tobytes(), (client, name)
    for name in ("rounds", "summary", "clients.json", "unseen.json"):
        assert a[name] == b[name]


SHORT = {"num_server_rounds": 4, "checkpoint_every": 1}


class FailingHost(SpyGrid):
    """A host that cannot write its second checkpoint, in a run that then stops."""

    asked = 0

    def deliver(self, messages, timeout):
        kind = messages[0].metadata.message_type
        self.asked += kind == "query.checkpoint"
        if self.asked == 2 and kind == "train":
            raise Power
        replies = super().deliver(messages, timeout)
        if self.asked == 2 and kind == "query.checkpoint":
            replies[1] = Message(Error(code=0, reason="disk full"), reply_to=messages[1])
        return replies
