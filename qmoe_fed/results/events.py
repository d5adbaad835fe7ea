"""The rounds of a run as event files, which TensorBoard shows while the run goes on."""

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from qmoe_fed.errors import UserError

FOLDER = "tensorboard"

Log = Callable[[Mapping[str, Any]], None]
"""Takes the record of a round, as it stands in ``metrics.jsonl``."""


def check_log(log: str) -> None:
    """Check that what a run is to be logged with is installed; UserError if not."""
    if log == "tensorboard" and find_spec("tensorboard") is None:
        raise UserError(
            "log = 'tensorboard': the package tensorboard is not installed; "
            "pip install 'qmoe-fed[tensorboard]', or log = 'none'"
        )


@contextmanager
def event_log(log: str, run: Path, first: int) -> Iterator[Log]:
    """Yield what writes rounds into ``tensorboard/`` of a run's directory, if they are logged.

    Every number of a record is a scalar, by its path: ``accuracy/mean``. What was written of rounds
    from ``first`` on, by a run that was stopped, is void.
    """
    if log == "none":
        yield lambda record: None
        return
    from torch.utils.tensorboard import SummaryWriter  # an optional package

    writer = SummaryWriter(run / FOLDER, purge_step=first)

    def write(record: Mapping[str, Any]) -> None:
        for name, value in _scalars(record):
            writer.add_scalar(name, value, record["round"])
        writer.add_scalar("left-out", len(record.get("rejections", ())), record["round"])
        writer.flush()  # what a run that is killed has come to is there

    try:
        yield write
    finally:
        writer.close()


def _scalars(record: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, float]]:
    for key, value in record.items():
        if isinstance(value, Mapping):
            yield from _scalars(value, f"{above}{key}/")
        elif isinstance(value, int | float) and math.isfinite(value) and key != "round":
            yield f"{above}{key}", value
