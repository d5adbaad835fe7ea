"""Being asked to stop, by Ctrl-C or another signal."""

import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from types import FrameType

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stopped(BaseException):
    """A signal asked this process to stop; ``signal`` is its number."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.signal = number


def stoppable() -> AbstractContextManager[None]:
    """Turn Ctrl-C, SIGTERM and SIGHUP into the exception ``Stopped``, so that all is cleaned up.

    A signal that is ignored stays so: ``nohup`` works.
    """

    def stop(number: int, frame: FrameType | None) -> None:
        raise Stopped(number)

    return on_signals(stop)


@contextmanager
def on_signals(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Have a handler called for these signals in the block, but for those that are ignored."""
    before = {n: h for n in STOP_SIGNALS if (h := signal.getsignal(n)) != signal.SIG_IGN}
    for number in before:
        signal.signal(number, handler)
    try:
        yield
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)
