"""The phases of a hidden sum as messages: what goes along with a request, and all that follows.

Server → host: record ``hidden`` beside what is asked, in ``train`` and ``evaluate``; alone, with
``phase`` in ``config``, in ``query.hidden``. Replies have ``hidden`` and nothing else.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from flwr.app import ConfigRecord, Message, RecordDict
from flwr.serverapp import Grid

from qmoe_fed.federated.flower import messages as wire
from qmoe_fed.federated.flower.messages import Hosts
from qmoe_fed.federated.hidden import Wire

HIDDEN, PHASE = "hidden", "phase"


@dataclass
class GridPhases:
    """Carries the phases of a hidden sum to the hosts on a grid; an ``Ask``.

    Attributes:
        grid: The grid.
        hosts: All hosts, and how long each phase waits for them.
        shares: The replies to the request for shares, which others send.
    """

    grid: Grid
    hosts: Hosts
    shares: Sequence[Message] = ()

    def __call__(self, phase: str, messages: Mapping[int, Wire]) -> dict[int, Wire | str]:
        replies: Iterable[Message] = self.shares
        if phase != "shares":
            asked = [self._message(phase, host, message) for host, message in messages.items()]
            replies = wire.send(self.grid, asked, self.hosts.timeout) if asked else ()
        numbers = {node: host for host, node in enumerate(self.hosts.nodes)}
        answers: dict[int, Wire | str] = {}
        for reply in replies:
            host = numbers.get(reply.metadata.src_node_id, -1)
            if host in messages:
                answers[host] = _read(reply)
        return answers

    def _message(self, phase: str, host: int, message: Wire) -> Message:
        content = RecordDict({wire.CONFIG: ConfigRecord({PHASE: phase}), HIDDEN: _record(message)})
        return Message(content, self.hosts.nodes[host], "query.hidden")


def _read(reply: Message) -> Wire | str:
    if reply.has_error():
        return wire.one_line(f"its host failed: {reply.error.reason or reply.error.code}")
    return asked_of(reply) if HIDDEN in reply.content else f"the reply lacks the record {HIDDEN!r}"


def _record(message: Wire) -> ConfigRecord:
    return ConfigRecord({**message})


def send_along(messages: Sequence[Message], request: Wire) -> list[Message]:
    """Add to messages what a hidden sum has to say to all hosts; return them."""
    for message in messages:
        message.content[HIDDEN] = _record(request)
    return [*messages]


def asked_of(message: Message) -> Wire:
    """Return what a message says of a hidden sum."""
    record = message.content.config_records.get(HIDDEN, ConfigRecord())
    return {name: value for name, value in record.items() if isinstance(value, int | bytes)}


def reply_hidden(message: Message, answer: Wire) -> Message:
    """Return the reply to a message with a host's part in a hidden sum, and nothing else."""
    return Message(RecordDict({HIDDEN: _record(answer)}), reply_to=message)
