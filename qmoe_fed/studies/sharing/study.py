"""The whole comparison: choose hyper-parameters, run the seeds, report."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import version
from itertools import product
from pathlib import Path

from qmoe_fed.config import Config
from qmoe_fed.data import fit_projection
from qmoe_fed.errors import UserError
from qmoe_fed.results.progress import say
from qmoe_fed.results.run_directory import PACKAGES, RunDirectory
from qmoe_fed.studies.parallel import workers
from qmoe_fed.studies.sharing.grid import (
    CANDIDATES,
    VALIDATION_SEEDS,
    Candidate,
    Cell,
    Grid,
    job_of,
)
from qmoe_fed.studies.sharing.report import by_cell, print_report, verdict
from qmoe_fed.studies.sharing.runs import Record, run_jobs

PROCESSES = 2


def compare(grid: Grid, folder: Path, data_dir: str, processes: int = PROCESSES) -> None:
    """Run a grid and write ``results.json``, with one record per cell and seed.

    Finished runs stand in ``records.jsonl``, so that the same call goes on where it was stopped.

    Args:
        grid: What to compare.
        folder: Where to write.
        data_dir: Folder of the image datasets; empty to download them.
        processes: Number of processes that share the runs.

    Raises:
        UserError: There are fewer than two seeds, the folder cannot be made, or the images of a
            task cannot be loaded.
    """
    if grid.seeds < 2:
        raise UserError(f"seeds = {grid.seeds}: an interval needs at least 2")
    _check_data(grid, data_dir)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot make output-dir {folder}: {error.strerror}") from error
    file = folder / "records.jsonl"

    with workers(processes) as pool:
        say(f"{len(grid.cells)} cells: choosing from {len(CANDIDATES)} candidates each")
        trials = list(product(grid.cells, CANDIDATES, VALIDATION_SEEDS))
        jobs = [job_of(cell, seed, candidate, grid, data_dir) for cell, candidate, seed in trials]
        chosen = _choose(trials, run_jobs(pool, jobs, file))

        say(f"{len(grid.cells)} cells: {grid.seeds} seeds each")
        jobs = [
            job_of(cell, seed, candidate, grid, data_dir)
            for cell, candidate in chosen.items()
            for seed in range(grid.seeds)
        ]
        records = run_jobs(pool, jobs, file)
    outcomes = by_cell(records)
    lines = verdict(outcomes)
    content = {
        "versions": {name: version(name) for name in PACKAGES},
        "epochs": grid.epochs,
        "candidates": [asdict(candidate) for candidate in CANDIDATES],
        "chosen": [{**vars(cell), **asdict(c)} for cell, c in chosen.items()],
        "verdict": lines,
        "records": [record.to_dict() for record in records],
    }
    RunDirectory(folder).write_json("results.json", content)
    print_report(outcomes)
    say("\nVerdict\n" + "\n".join(lines))
    say(f"results: {folder / 'results.json'}")


def _choose(
    trials: Sequence[tuple[Cell, Candidate, int]], records: Sequence[Record]
) -> dict[Cell, Candidate]:
    """Return the candidate with the best mean accuracy over the validation seeds, by cell."""
    total: dict[tuple[Cell, Candidate], float] = defaultdict(float)
    for (cell, candidate, _), record in zip(trials, records, strict=True):
        total[cell, candidate] += record.outcome.accuracy
    cells = dict.fromkeys(cell for cell, _, _ in trials)
    return {cell: max(CANDIDATES, key=lambda c: total[cell, c]) for cell in cells}


def _check_data(grid: Grid, data_dir: str) -> None:
    """Load the images of every task once, before any process starts."""
    cells = {cell.task: cell for cell in grid.cells}
    for cell in cells.values():
        fit_projection(Config.from_flat(job_of(cell, 0, CANDIDATES[0], grid, data_dir).settings))
