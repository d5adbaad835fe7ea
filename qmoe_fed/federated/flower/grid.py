"""Grids in this process: one that calls the ClientApp, one that shows every client as a node.

All use of Flower's private parts is here.
"""

import logging
import random
import sys
import tomllib
import traceback
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

from flwr.app import Context, Error, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid
from flwr.supercore.run import Run
from flwr.supercore.task_identity import TaskIdentity

from qmoe_fed import rng
from qmoe_fed.config import load_object
from qmoe_fed.errors import UserError
from qmoe_fed.federated.flower import messages as wire
from qmoe_fed.federated.flower.messages import Hosts
from qmoe_fed.federated.updates import Layout

RUN_ID = 1
FIRST_NODE = 1000
FIRST_VIRTUAL = 1  # Flower takes node id 0 for no node
UNKNOWN_FAILURE = 0

Send = Callable[[list[Message]], list[Message]]

logger = logging.getLogger("flwr")


class DirectGrid(Grid):
    """A grid whose ``deliver`` answers messages at once; the rest is as in Flower's own."""

    def __init__(self) -> None:
        self._run = Run.create_empty(RUN_ID)
        self._replies: dict[str, Message] = {}

    @abstractmethod
    def deliver(self, messages: list[Message], timeout: float | None) -> list[Message]:
        """Return the replies to messages."""

    def set_run(self, run: Run) -> None:
        self._run = run

    @property
    def run(self) -> Run:
        return self._run

    def create_message(
        self,
        content: RecordDict,
        message_type: str,
        dst_node_id: int,
        group_id: str,
        ttl: float | None = None,
    ) -> Message:
        return Message(content, dst_node_id, message_type, ttl=ttl, group_id=group_id)

    def push_messages(self, messages: Iterable[Message]) -> list[str]:
        messages = list(messages)
        for reply in self.send_and_receive(messages):
            self._replies[reply.metadata.reply_to_message_id] = reply
        return [message.metadata.message_id for message in messages]

    def pull_messages(self, message_ids: Iterable[str]) -> list[Message]:
        return [self._replies.pop(i) for i in message_ids if i in self._replies]

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> list[Message]:
        messages = list(messages)
        for message in messages:
            message.metadata.__dict__["_message_id"] = uuid4().hex
        return self.deliver(messages, timeout) if messages else []


class LocalGrid(DirectGrid):
    """Delivers messages by calling the ClientApp, one SuperNode after another.

    As in Flower, an exception in the ClientApp becomes an error reply, and what it had changed in
    its context is dropped. ``run_config`` are the flat settings of the run.
    """

    def __init__(self, app: ClientApp, run_config: Mapping[str, Any], supernodes: int = 1) -> None:
        super().__init__()
        self.app, self.contexts = app, dict[int, Context]()
        for i in range(supernodes):
            node, config = FIRST_NODE + i, dict(run_config)
            place = dict[str, Any](zip(wire.PLACE, (i, supernodes), strict=True))
            self.contexts[node] = Context(RUN_ID, node, place, RecordDict(), config)

    def get_node_ids(self) -> list[int]:
        return list(self.contexts)

    def deliver(self, messages: list[Message], timeout: float | None) -> list[Message]:
        """Return the ClientApp's replies; a timeout never strikes."""
        return [self._call(message) for message in messages]

    def _call(self, message: Message) -> Message:
        context = self.contexts[message.metadata.dst_node_id]
        before = RecordDict(dict(context.state))
        try:
            return self.app(message, context)
        except Exception as error:  # becomes an error reply, as in Flower
            refused = isinstance(error, UserError)
            told = str(error) if refused else f"\n{traceback.format_exc()}"
            logger.error("ClientApp failed: %s", told)
            context.state = before
            reason = f"{type(error).__name__}: {error}"
            return Message(Error(code=UNKNOWN_FAILURE, reason=reason), reply_to=message)


class VirtualGrid(DirectGrid):
    """A grid of one virtual node per client, on top of hosts that messages are sent to, in a round.

    Any strategy of Flower's works through it unchanged: it sees N nodes, each of which returns its
    own version of the shared parameters. Behind it the messages are packed, one per host. Flower's
    strategies sample nodes with Python's global generator, which is therefore seeded, from seed and
    round, whenever they ask which nodes there are.
    """

    def __init__(
        self, send: Send, hosts: Hosts, num_clients: int, seed: int, server_round: int
    ) -> None:
        super().__init__()
        self.send, self.hosts, self.num_clients = send, hosts, num_clients
        self.seed, self.round = seed, server_round

    def get_node_ids(self) -> list[int]:
        random.seed(int(rng.generator(self.seed, "flower", 0, self.round).integers(2**32)))
        return list(range(FIRST_VIRTUAL, FIRST_VIRTUAL + self.num_clients))

    def deliver(self, messages: list[Message], timeout: float | None) -> list[Message]:
        """Pack messages by host, send them, and unpack the replies client by client.

        It is for ``send`` to say how long to wait.
        """
        groups: dict[int, dict[int, Message]] = {}
        for message in messages:  # clients that are sent the same content share a packed message
            client = message.metadata.dst_node_id - FIRST_VIRTUAL
            groups.setdefault(id(message.content), {})[client] = message
        return [reply for group in groups.values() for reply in self._send(group)]

    def _send(self, group: dict[int, Message]) -> list[Message]:
        first, asked = next(iter(group.values())), self.hosts.group(group)
        (arrays,) = first.content.array_records.values()
        (config,) = first.content.config_records.values()
        settings = {wire.ROUND: self.round, **config}
        packed = wire.cohort_messages(asked, arrays, settings, first.metadata.message_type)
        replies = self.send(packed)
        layout = Layout({name: tuple(array.shape) for name, array in arrays.items()})
        cohort, faults = wire.read_replies(replies, asked, layout)
        shared, updates = wire.to_tensors(arrays), layout.parameters(cohort.updates)
        unpacked = []
        for row, client in enumerate(cohort.clients):
            own = wire.to_record({name: shared[name] + updates[name][row] for name in shared})
            numbers = int(cohort.weights[row]), float(cohort.losses[row])
            scores = MetricRecord(dict(zip((wire.EXAMPLES, wire.LOSS), numbers, strict=True)))
            content = RecordDict({wire.ARRAYS: own, wire.METRICS: scores})
            unpacked.append(Message(content, reply_to=group[client]))
        for fault in faults:
            if fault.client in group:
                error = Error(code=UNKNOWN_FAILURE, reason=fault.reason)
                unpacked.append(Message(error, reply_to=group[fault.client]))
        return unpacked


@contextmanager
def task_identity() -> Iterator[None]:
    """Give this process the identity that Flower's ``Message`` asks for, if it has none."""
    before = TaskIdentity._task_id, TaskIdentity._run_id, TaskIdentity._node_id
    if before == (None, None, None):
        TaskIdentity.task_id, TaskIdentity.run_id, TaskIdentity.node_id = 1, RUN_ID, 1
    try:
        yield
    finally:
        TaskIdentity._task_id, TaskIdentity._run_id, TaskIdentity._node_id = before


def run_app(app_dir: Path, run_config: dict[str, Any], supernodes: int = 1) -> None:
    """Run the Flower app in a directory to its end; raises whatever its ServerApp raises."""
    project = tomllib.loads((app_dir / "pyproject.toml").read_text(encoding="utf-8"))
    about = project["tool"]["flwr"]["app"]
    components = about["components"]
    sys.path.insert(0, str(app_dir))
    try:
        server_app = load_object(components["serverapp"], "serverapp")
        client_app = load_object(components["clientapp"], "clientapp")
    finally:
        sys.path.remove(str(app_dir))
    context = Context(RUN_ID, 0, {}, RecordDict(), run_config)
    with task_identity():
        grid = LocalGrid(client_app, run_config, supernodes)
        grid.run.fab_id = f"{about['publisher']}/{project['project']['name']}"  # as Flower does
        server_app(grid, context)
