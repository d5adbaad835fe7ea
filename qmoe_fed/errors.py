"""The one error a user can cause, and how its message is worded."""

from collections.abc import Iterable
from difflib import get_close_matches


class UserError(ValueError):
    """Something the user asked for cannot be done; the message says what to do instead.

    Command lines print it as one line without a traceback and exit with status 2.
    """


class RunFailed(RuntimeError):
    """A run ended without results; the message says why, and the command line nothing else."""


def unknown(what: str, value: object, allowed: Iterable[str], hint: str = "") -> UserError:
    """Return the error for a name that is not in a list, with the nearest allowed name.

    Args:
        what: What was named, e.g. ``"router"``.
        value: The name that was given.
        allowed: The names that exist.
        hint: A further way to make a choice, added at the end.
    """
    names = sorted(set(allowed))
    near = get_close_matches(str(value), names, n=1)
    guess = f" Did you mean {near[0]!r}?" if near else ""
    tail = f" {hint}" if hint else ""
    return UserError(f"unknown {what} {value!r}.{guess} Allowed: {', '.join(names)}.{tail}")
