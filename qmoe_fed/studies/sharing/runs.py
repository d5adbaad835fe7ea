"""Runs jobs in other processes, writes each result down at once, and skips what is there."""

import json
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from qmoe_fed.config import Config
from qmoe_fed.results.progress import say
from qmoe_fed.results.run_directory import write_whole
from qmoe_fed.studies.sharing.grid import Cell, Job
from qmoe_fed.studies.sharing.methods import Outcome, run

PROGRESS_SECONDS = 10.0


@dataclass(frozen=True)
class Record:
    """One finished run.

    Attributes:
        job: What was run.
        outcome: What came out.
        seconds: How long it took.
    """

    job: Job
    outcome: Outcome
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """Return the record as JSON can hold it."""
        return {
            **vars(self.job.cell),
            "seed": self.job.seed,
            **asdict(self.outcome),
            "seconds": self.seconds,
            "settings": dict(self.job.settings),
        }

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> "Record":
        """Return the record that ``to_dict`` described."""
        cell = Cell(content["task"], content["router"], content["sharing"])
        outcome = Outcome(**{name: content[name] for name in Outcome.__dataclass_fields__})
        return cls(Job(cell, content["seed"], content["settings"]), outcome, content["seconds"])


def run_jobs(pool: ProcessPoolExecutor, jobs: Sequence[Job], file: Path) -> list[Record]:
    """Run jobs and return their records, in the order of the jobs.

    Args:
        pool: The processes that share the jobs.
        jobs: What to run.
        file: Holds a line per finished run; what stands there already is not run again.

    Raises:
        UserError: A task cannot be made.
    """
    done = {_key(record.job): record for record in _read(file)}
    waiting = [job for job in jobs if _key(job) not in done]
    # a process keeps the images of one seed of a task: jobs that share them come together
    waiting.sort(key=lambda job: (job.cell.task, job.seed))
    started = shown = time.monotonic()
    futures = [pool.submit(_run, job) for job in waiting]
    for count, future in enumerate(as_completed(futures), 1):
        record = future.result()
        done[_key(record.job)] = record
        with file.open("a") as lines:
            lines.write(json.dumps(record.to_dict()) + "\n")
        now = time.monotonic()
        if now - shown > PROGRESS_SECONDS:
            shown = now
            left = (now - started) / count * (len(waiting) - count)
            say(f"{count} of {len(waiting)} runs, ~{left:.0f} s left")
    return [done[_key(job)] for job in jobs]


def _run(job: Job) -> Record:
    started = time.monotonic()
    outcome = run(Config.from_flat(job.settings), job.cell.sharing)
    return Record(job, outcome, time.monotonic() - started)


def _key(job: Job) -> str:
    return json.dumps([job.cell.sharing, job.settings], sort_keys=True)


def _read(file: Path) -> list[Record]:
    """Return the records of a file; a last line that was cut off is no record."""
    if not file.exists():
        return []
    whole = file.read_text().rpartition("\n")[0]
    write_whole(file, f"{whole}\n".encode() if whole else b"")
    return [Record.from_dict(json.loads(line)) for line in whole.splitlines()]
