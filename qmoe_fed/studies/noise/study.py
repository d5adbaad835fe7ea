"""The whole study: fit, measure, report."""

import time
from functools import partial
from importlib.metadata import version
from pathlib import Path

import torch

from qmoe_fed.errors import UserError
from qmoe_fed.results.figures.style import save
from qmoe_fed.results.progress import say
from qmoe_fed.results.run_directory import PACKAGES, RunDirectory, write_whole
from qmoe_fed.studies.noise import fits
from qmoe_fed.studies.noise.figures import draw_all
from qmoe_fed.studies.noise.measure import CLEAN, NOISY, curves, linear_accuracy
from qmoe_fed.studies.noise.settings import Settings
from qmoe_fed.studies.noise.summary import content
from qmoe_fed.studies.noise.tables import tables
from qmoe_fed.studies.noise.verdicts import conclusions, notebook_table, table_ii
from qmoe_fed.studies.parallel import run_jobs

QUICK = {"seeds": 3, "learning-rates": "0.1", "max-epochs": 15}
"""Settings of a first look."""


def study(settings: Settings) -> None:
    """Fit all models, measure them under noise and write tables, pictures and ``results.json``.

    Raises:
        UserError: The directory holds results already or cannot be written.
    """
    began = time.monotonic()
    directory = _directory(settings.scope.output_dir)
    directory.write_json("config.json", {"settings": settings.to_flat(), "versions": _versions()})

    jobs = fits.plan(settings)
    calls = [partial(fits.run, job, settings) for job in jobs]
    arrays = run_jobs(calls, settings.scope.processes)
    fitted = {
        job: {name: torch.from_numpy(values) for name, values in found.items()}
        for job, found in zip(jobs, arrays, strict=True)
    }
    say("measuring")
    seed = settings.protocol.seed
    linear, found = linear_accuracy(settings, fitted), curves(settings, fitted)
    paper = {protocol: table_ii(found, linear, protocol, seed) for protocol in (CLEAN, NOISY)}
    shown = [*tables(found, linear, seed), *paper.values(), notebook_table(found)]
    said = conclusions(found, paper)
    for table in shown:
        table.print()
    say("\n" + "\n".join(said))
    parts = ["# Noise on Two Moons", *(f"- {line}" for line in said), ""]
    text = "\n".join([*parts, *(table.markdown() for table in shown)])
    write_whole(directory.path / "tables.md", text.encode())
    for name, figure in draw_all(found, linear, seed).items():
        save(figure, directory.path / "figures" / f"{name}.png")
    seconds = time.monotonic() - began
    about = {
        "settings": settings.to_flat(),
        "versions": _versions(),
        "seconds": seconds,
        "conclusions": said,
    }
    directory.write_json("results.json", {**about, **content(found, linear, seed)})
    say(f"\n{seconds:.0f} s; tables, pictures and results.json: {directory.path}")


def _versions() -> dict[str, str]:
    return {name: version(name) for name in PACKAGES}


def _directory(name: str) -> RunDirectory:
    path = Path(name or f"runs/noise-study-{time.strftime('%Y%m%d-%H%M%S')}")
    path = path.expanduser().absolute()
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise UserError(f"output-dir {path} is not empty; name another directory")
    return RunDirectory(path)
