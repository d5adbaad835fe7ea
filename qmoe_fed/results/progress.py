"""What a run says while it runs: one plain line per round, readable in any log."""

import math
import time
from collections.abc import Callable, Mapping
from typing import Any

QUIET_SECONDS = 0.5

Show = Callable[[int, Mapping[str, Mapping[str, Any]]], None]
"""Takes a round and its scores: those of accuracy and of loss, see ``spread``."""


class Progress:
    """Prints the rounds of a run as they go by, at most one line in ``QUIET_SECONDS``.

    There are ``total`` rounds, and the run goes on after the ``first``.
    """

    def __init__(self, total: int, first: int = 0) -> None:
        self.total, self.first = total, first
        self.started, self.shown = time.monotonic(), 0.0

    def show(self, server_round: int, scores: Mapping[str, Mapping[str, Any]]) -> None:
        """Print one round's scores and the time left."""
        now, remaining = time.monotonic(), ""
        if self.first < server_round < self.total:
            if now - self.shown < QUIET_SECONDS:
                return
            a_round = (now - self.started) / (server_round - self.first)
            remaining = f"   ~{a_round * (self.total - server_round):.0f} s left"
        self.shown = now
        accuracy, spread = scores["accuracy"], ""
        if not math.isnan(accuracy["std"]):  # not where only means are known
            spread = f" ± {accuracy['std']:.3f}   worst 10% {accuracy['worst10']:.3f}"
        say(
            f"round {server_round:{len(str(self.total))}d}/{self.total}   "
            f"loss {scores['loss']['mean']:.3f}   "
            f"accuracy {accuracy['mean']:.3f}{spread}{remaining}"
        )


def say(text: str) -> None:
    """Print a line at once."""
    # one write, so that a log line of another process cannot come between text and line end
    print(f"{text}\n", end="", flush=True)
