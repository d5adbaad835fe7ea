"""A grid that runs the ClientApp in this process: no Ray, no SuperLink."""

import traceback
from collections.abc import Mapping
from typing import Any

from flwr.app import Context, Error, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.supercore import log

from qmoe_fed.federated.direct_grid import RUN_ID, DirectGrid

FIRST_NODE = 1000
UNKNOWN_FAILURE = 0
ERROR_LEVEL = 40


class LocalGrid(DirectGrid):
    """Delivers messages by calling the ClientApp, one SuperNode after another.

    As in Flower, an exception in the ClientApp becomes an error reply, and what it had changed in
    its context is dropped.

    Args:
        app: The ClientApp.
        run_config: Settings of the run, as the ClientApp reads them.
        supernodes: Number of SuperNodes to play.
    """

    def __init__(self, app: ClientApp, run_config: Mapping[str, Any], supernodes: int = 1) -> None:
        super().__init__()
        self.app = app
        self.contexts = {
            FIRST_NODE + i: Context(
                run_id=RUN_ID,
                node_id=FIRST_NODE + i,
                node_config={"partition-id": i, "num-partitions": supernodes},
                state=RecordDict(),
                run_config=dict(run_config),
            )
            for i in range(supernodes)
        }

    def get_node_ids(self) -> list[int]:
        """Return the ids of all SuperNodes."""
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
            log(ERROR_LEVEL, "ClientApp failed:\n%s", traceback.format_exc())
            context.state = before
            reason = f"{type(error).__name__}: {error}"
            return Message(Error(code=UNKNOWN_FAILURE, reason=reason), reply_to=message)
