"""A federation of this project in one process: ``python our_federation.py CLIENTS ROUNDS FOLDER``.

Started by ``contender.py``.
"""

import sys
from pathlib import Path
from typing import Any

from contender import BeforeRound, on_request
from flwr.app import Message, MessageType

from qmoe_fed.federated.flower import client_app
from qmoe_fed.federated.flower.grid import LocalGrid, task_identity
from qmoe_fed.federated.flower.messages import arrays_of
from qmoe_fed.federated.flower.server import run_federation

CHANGES = {  # a round is five steps of 32 samples and nothing else
    "num-unseen-clients": 0,
    "local-epochs": 1,
    "train-samples": 160,
    "test-samples": 16,
    "evaluate-every": 1_000_000,
    "checkpoint-every": 0,
    "figures": False,
}


def settings(clients: int, rounds: int) -> dict[str, Any]:
    """Return the settings of a run that is timed: the example's, but for a few."""
    return {**CHANGES, "num-clients": clients, "num-server-rounds": rounds}


class WatchedGrid(LocalGrid):
    """Says so before each round of training."""

    def __init__(self, *arguments: Any, before_round: BeforeRound) -> None:
        super().__init__(*arguments)
        self.before_round = before_round

    def deliver(self, messages: list[Message], timeout: float | None) -> list[Message]:
        """Return the replies to messages."""
        if messages[0].metadata.message_type == MessageType.TRAIN:
            self.before_round(arrays_of(messages[0])["router.theta"].numpy())
        return super().deliver(messages, timeout)


def federate(clients: int, rounds: int, folder: Path, before_round: BeforeRound) -> None:
    """Run a federation in this process."""
    config = {**settings(clients, rounds), "engine": "local", "output-dir": str(folder / "results")}
    with task_identity():
        grid = WatchedGrid(client_app(), config, before_round=before_round)
        run_federation(grid, config)


if __name__ == "__main__":
    federate(int(sys.argv[1]), int(sys.argv[2]) + 1, Path(sys.argv[3]), on_request())
