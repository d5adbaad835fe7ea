"""Tells what a Flower app says from what Flower and Ray say about themselves."""

import re
from collections.abc import Callable, Iterable, Iterator

COLOUR = re.compile(r"\x1b\[[0-9;]*m")
CHATTER = re.compile(
    r"(\(.* pid=\d+\) )?(INFO|DEBUG)\s*:"
    r"|WARNING\s*: +Since flwr 1\.32, default simulated SuperNodes changed"
    r"|\(.* pid=\d+\) WARNING\s*: +Manually terminating ClientAppActor"
    r"|Using SuperLink:|Successfully (started run|installed) "
)
FATAL = re.compile(r"ERROR\s*: +Simulation raised an exception")


def plain(line: str) -> str:
    """Return a line of a log without colours and without its end."""
    return COLOUR.sub("", line.rstrip("\n"))


def visible(log: Iterable[str], verbose: bool, refused: Callable[[], bool]) -> Iterator[str]:
    """Yield the lines of a log that are for the user.

    Args:
        log: The lines.
        verbose: All of them are.
        refused: Asked once the app has failed: whether it refused what the user asked for. The
            traceback is not yielded then.
    """
    failed = False
    for line in log:
        failed = failed or FATAL.match(line) is not None
        if verbose or not (refused() if failed else CHATTER.match(line)):
            yield line
