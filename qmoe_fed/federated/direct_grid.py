"""What a Flower grid needs when replies come at once; all use of Flower's private parts is here."""

from abc import abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from uuid import uuid4

from flwr.app import Message, RecordDict
from flwr.serverapp import Grid
from flwr.supercore.run import Run
from flwr.supercore.task_identity import TaskIdentity

RUN_ID = 1


class DirectGrid(Grid):
    """A grid whose ``deliver`` answers messages at once."""

    def __init__(self) -> None:
        self._run = Run.create_empty(RUN_ID)
        self._replies: dict[str, Message] = {}

    @abstractmethod
    def deliver(self, messages: list[Message], timeout: float | None) -> list[Message]:
        """Return the replies to messages."""

    def set_run(self, run: Run) -> None:
        """Take over a run's description."""
        self._run = run

    @property
    def run(self) -> Run:
        """The run's description."""
        return self._run

    def create_message(
        self,
        content: RecordDict,
        message_type: str,
        dst_node_id: int,
        group_id: str,
        ttl: float | None = None,
    ) -> Message:
        """Return a message, as Flower's own grids do."""
        return Message(content, dst_node_id, message_type, ttl=ttl, group_id=group_id)

    def push_messages(self, messages: Iterable[Message]) -> list[str]:
        """Deliver messages and keep the replies to be pulled."""
        messages = list(messages)
        for reply in self.send_and_receive(messages):
            self._replies[reply.metadata.reply_to_message_id] = reply
        return [message.metadata.message_id for message in messages]

    def pull_messages(self, message_ids: Iterable[str]) -> list[Message]:
        """Return the replies to these messages, once."""
        return [self._replies.pop(i) for i in message_ids if i in self._replies]

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> list[Message]:
        """Deliver messages and return their replies."""
        messages = list(messages)
        for message in messages:
            message.metadata.__dict__["_message_id"] = uuid4().hex
        return self.deliver(messages, timeout) if messages else []


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
