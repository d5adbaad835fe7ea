"""Tells what a Flower app says from what Flower and Ray say about themselves."""

import re
from collections.abc import Iterable, Iterator

from qmoe_fed.errors import UserError

COLOUR = re.compile(r"\x1b\[[0-9;]*m")
CHATTER = re.compile(
    r"(\(.* pid=\d+\) )?(INFO|DEBUG)\s*:"
    r"|WARNING\s*: +Since flwr 1\.32, default simulated SuperNodes changed"
    r"|\(.* pid=\d+\) WARNING\s*: +Manually terminating ClientAppActor"
    r"|Using SuperLink:|Successfully (started run|installed) "
)
FATAL = re.compile(r"ERROR\s*: +Simulation raised an exception")
USER_ERROR = re.compile(rf"{re.escape(UserError.__module__)}\.UserError: (.*)")


def plain(line: str) -> str:
    """Return a line of a log without colours and without its end."""
    return COLOUR.sub("", line.rstrip("\n"))


def visible(log: Iterable[str], verbose: bool) -> Iterator[str]:
    """Yield the lines of a log that are for the user.

    Raises:
        UserError: The app ended with one; its traceback is not yielded.
    """
    lines = iter(log)
    for line in lines:
        if FATAL.match(line):
            last_words = [line, *lines]
            if not verbose and (errors := list(filter(None, map(USER_ERROR.match, last_words)))):
                raise UserError(errors[-1][1])
            yield from last_words
        elif verbose or not CHATTER.match(line):
            yield line
