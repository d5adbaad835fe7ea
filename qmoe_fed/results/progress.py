"""What a run says while it runs: one plain line per round, readable in any log."""

import time
from collections.abc import Mapping
from typing import Any

QUIET_SECONDS = 0.5


class Progress:
    """Prints the rounds of a run as they go by, at most one line in ``QUIET_SECONDS``.

    There are ``total`` rounds, and the run goes on after the ``first``.
    """

    def __init__(self, total: int, first: int = 0) -> None:
        self.total, self.first = total, first
        self.started, self.shown = time.monotonic(), 0.0

    def show(self, server_round: int, scores: Mapping[str, Mapping[str, Any]]) -> None:
        """Print one round's scores and the time left."""
        now = time.monotonic()
        under_way = self.first < server_round < self.total
        if under_way and now - self.shown < QUIET_SECONDS:
            return
        self.shown = now
        accuracy, loss = scores["accuracy"], scores["loss"]
        done = max(server_round - self.first, 1)
        left = (now - self.started) / done * (self.total - server_round)
        width = len(str(self.total))
        remaining = f"   ~{left:.0f} s left" if under_way else ""
        say(
            f"round {server_round:{width}d}/{self.total}   loss {loss['mean']:.3f}   "
            f"accuracy {accuracy['mean']:.3f} ± {accuracy['std']:.3f}   "
            f"worst 10% {accuracy['worst10']:.3f}{remaining}"
        )


def say(text: str) -> None:
    """Print a line at once."""
    # one write, so that a log line of another process cannot come between text and line end
    print(f"{text}\n", end="", flush=True)
