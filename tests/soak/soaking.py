"""Runs many damaged cases: each must be done, or refused in one line, soon and in little memory.

The tests run a few of each kind. ``make soak`` sets ``SOAK=1``, for all there are; ``SOAK=0.1`` is
a tenth; ``SOAK_MINUTES=5`` ends each kind then. A case is drawn from its number alone:
``SOAK_FIRST=17`` begins with number 17.
"""

import math
import os
import random
import signal
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from resource import RUSAGE_SELF, getrusage
from types import FrameType

from qmoe_fed.cli import main
from qmoe_fed.errors import UserError

SHARE, FIRST = float(os.environ.get("SOAK", 0)), int(os.environ.get("SOAK_FIRST", 0))
MINUTES = float(os.environ.get("SOAK_MINUTES", math.inf))
SECONDS, MEBIBYTES = 60, 500
"""That one case may take, more than those before it."""

Case = Callable[[random.Random], str]
"""Draws a case, tries it and returns what became of it; UserError counts as ``refused``."""


class Hanging(BaseException):
    """A case has not come to an end; nothing of ours catches this."""


def soak(quick: int, long: int, case: Case) -> Counter[str]:
    """Try cases and return how many came to what; AssertionError with all that must not be."""
    found, defects = Counter[str](), dict[str, list[str]]()
    end, before = time.monotonic() + 60 * MINUTES, signal.signal(signal.SIGALRM, _hanging)
    try:
        for number in range(FIRST, FIRST + max(quick, round(SHARE * long))):
            memory = getrusage(RUSAGE_SELF).ru_maxrss
            if time.monotonic() > end:
                break
            signal.alarm(SECONDS)
            found[outcome := _tried(case, random.Random(number))] += 1
            signal.alarm(0)
            if "\n" in outcome:
                defects.setdefault(outcome, []).append(f"case {number}")
            if (more := (getrusage(RUSAGE_SELF).ru_maxrss - memory) // 1024) > MEBIBYTES:
                defects.setdefault("memory", []).append(f"case {number}: {more} MiB")
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
    told = [f"{len(cases)} times, {cases[0]}:\n{what}" for what, cases in defects.items()]
    assert not told, f"{len(told)} defects\n\n" + "\n\n".join(told)
    if SHARE:
        print(f"{case.__name__}: {dict(found)}")
    return found


def _tried(case: Case, draw: random.Random) -> str:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the user's terminal may show some
            return case(draw)
    except UserError as error:
        return "refused" if "\n" not in str(error) else f"more than one line: {error}"[:300]
    except (Exception, Hanging) as error:
        where = "".join(traceback.format_tb(error.__traceback__)[-4:])
        return f"{where}{type(error).__name__}: {str(error)[:300]}"


def _hanging(number: int, frame: FrameType | None) -> None:
    raise Hanging


def command(*arguments: str) -> str:
    """Run the command line here and return its outcome; AssertionError if it says too much."""
    out, told = StringIO(), StringIO()
    with redirect_stdout(out), redirect_stderr(told):
        status = main(arguments)
    lines = [line for line in told.getvalue().splitlines() if not line.startswith("go on with:")]
    if status not in (0, 1, 2) or (status and len(lines) > 1) or "Traceback" in told.getvalue():
        raise AssertionError(f"exit status {status}: {told.getvalue()[-280:]}")
    return ("done", "failed", "refused")[status]


def damaged(content: bytes, draw: random.Random) -> bytes:
    """Return bytes with some cut off, changed, left out or repeated."""
    changed, begin = bytearray(content), draw.randrange(len(content) + 1)
    end = min(begin + draw.randrange(1, 40), len(content))
    how = draw.randrange(4)
    if how == 0:
        del changed[begin:]
    elif how == 1:
        changed[begin:end] = draw.randbytes(end - begin)
    elif how == 2:
        del changed[begin:end]
    else:
        changed[begin:begin] = changed[begin:end]
    return bytes(changed)
