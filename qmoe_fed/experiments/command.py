"""The command line of a study: where its settings come from, what it writes, how it ends."""

import argparse
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, Generic, NoReturn, TypeVar

import pandas as pd
import torch
from matplotlib.figure import Figure

from qmoe_fed.config.settings import Section, Tree, between, read_toml, setting
from qmoe_fed.errors import UserError
from qmoe_fed.experiments.cells import Cell
from qmoe_fed.experiments.engine import run_cells
from qmoe_fed.experiments.store import Arrays, Store
from qmoe_fed.experiments.views.tables import Table
from qmoe_fed.results.figures.style import save
from qmoe_fed.results.progress import say
from qmoe_fed.results.run_directory import write_whole


@dataclass(frozen=True)
class Scope(Section):
    """What every study can be asked."""

    seeds: int = setting(10, between(2))  # an interval needs two
    first_seed: int = setting(0, between(0))  # seeds are streams; others give fresh samples
    quick: bool = setting(False)  # small parts for a first look
    processes: int = setting(2, between(1))
    output_dir: str = setting("")  # empty: one in runs/
    data_dir: str = setting("")  # folder that holds mnist/ and fashion-mnist/

    @property
    def streams(self) -> range:
        """The seeds."""
        return range(self.first_seed, self.first_seed + self.seeds)


@dataclass(frozen=True)
class Report:
    """What a study shows.

    Attributes:
        tables: Printed and written down.
        further: Tables that are written down only.
        pictures: By file name without its end.
        notes: Lines that stand above the tables, e.g. what was left out.
    """

    tables: Sequence[Table]
    pictures: Mapping[str, Figure] = field(default_factory=dict)
    notes: Sequence[str] = ()
    further: Sequence[Table] = ()


@dataclass(frozen=True)
class Run:
    """A study under way, for its own use.

    Attributes:
        store: Where finished cells stand.
        processes: Number of processes that share the cells.
    """

    store: Store
    processes: int

    def __call__(self, cells: Sequence[Cell]) -> pd.DataFrame:
        """Return the rows of cells, run as far as they are not done."""
        return run_cells(cells, self.store, self.processes)

    def arrays(self, key: str) -> Arrays:
        """Return the arrays of a cell that was run, by its key, which stands in its rows."""
        return self.store.arrays(key)


Settings = TypeVar("Settings", bound=Tree)


@dataclass(frozen=True)
class Study(Generic[Settings]):
    """A study that can be run from the command line.

    Attributes:
        name: Of the study and of its default directory.
        description: For ``--help``.
        settings: Type of its settings, with a section ``scope``.
        report: Runs its cells and shows what came of them.
        sizes: Settings that an option ``--<name>`` stands for, by name; ``quick`` is one.
        check: Raises UserError if something is missing, before anything is written.
    """

    name: str
    description: str
    settings: type[Settings]
    report: Callable[[Settings, Run], Report]
    sizes: Mapping[str, Mapping[str, Any]]
    check: Callable[[Settings], object] = lambda settings: None


def main(study: Study[Settings], arguments: Sequence[str] | None = None) -> int:
    """Read the settings of a study from the command line, run it and write what it shows.

    What the command line says goes before ``--quick``, that before the config file.

    Args:
        study: The study.
        arguments: What was typed; None for that of this process.

    Returns:
        The exit status: 0, all done; 2, what the user asked for cannot be done; 128 + n, stopped
        by signal n.
    """
    try:
        settings = _settings(study, arguments)
        torch.set_num_threads(1)  # the tensors are small, and there are processes for the cores
        with _interruptible():
            _run(study, settings)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as stop:
        print("stopped; the same command goes on from here", file=sys.stderr)
        return 128 + (stop.args[0] if stop.args else signal.SIGINT)
    return 0


def _run(study: Study[Settings], settings: Settings) -> None:
    began = time.perf_counter()
    scope: Scope = vars(settings)["scope"]
    study.check(settings)
    size = "-quick" if scope.quick else ""
    folder = Path(scope.output_dir or f"runs/{study.name}{size}").expanduser()
    store = Store(folder, study.name, settings)
    report = study.report(settings, Run(store, scope.processes))
    notes = [*report.notes]
    if scope.quick:
        notes.append("A quick look: so few seeds and epochs decide nothing.")
    for note in notes:
        say(note)
    for table in report.tables:
        table.print()
    heading = f"# {study.name}, seeds {scope.streams[0]} to {scope.streams[-1]}"
    written = (table.markdown() for table in (*report.tables, *report.further))
    text = "\n\n".join([heading, *notes, *written])
    write_whole(folder / "tables.md", text.encode())
    for name, figure in report.pictures.items():
        save(figure, folder / "figures" / f"{name}.png")
    if scope.quick:
        say(f"\n{notes[-1]}")
    say(f"\n{time.perf_counter() - began:.0f} s; records, tables and pictures: {folder}")


def _settings(study: Study[Settings], arguments: Sequence[str] | None) -> Settings:
    parser = _Parser(
        description=study.description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--config", metavar="FILE", help="TOML file of settings, as those in configs/")
    add("--output-dir", metavar="DIR", help=f"of the results; runs/{study.name} if not given")
    add("--data-dir", metavar="DIR", help="holds mnist/ and fashion-mnist/ with their IDX files")
    add("--seeds", type=int, metavar="K", help="number of seeds: of the data and of the start")
    add("--first-seed", type=int, metavar="K", help="the first of them; others are fresh samples")
    add("--processes", type=int, metavar="K", help="processes that share the work")
    size = parser.add_mutually_exclusive_group()
    for name, settings in study.sizes.items():
        text = ", ".join(f"{key} = {value}" for key, value in settings.items())
        size.add_argument(f"--{name}", dest="size", action="store_const", const=name, help=text)
    options = vars(parser.parse_args(arguments))
    file, chosen = options.pop("config"), options.pop("size")
    given = {key.replace("_", "-"): value for key, value in options.items() if value is not None}
    written = read_toml(file) if file else {}
    return study.settings.from_flat({**written, **study.sizes.get(chosen, {}), **given})


@contextmanager
def _interruptible() -> Iterator[None]:
    """Let SIGTERM and SIGHUP be what Ctrl-C is, if they are not ignored."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt(number)

    numbers = signal.SIGTERM, signal.SIGHUP
    before = {n: h for n in numbers if (h := signal.getsignal(n)) != signal.SIG_IGN}
    for number in before:
        signal.signal(number, stop)
    try:
        yield
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)


class _Parser(argparse.ArgumentParser):
    """Reports bad arguments like every other mistake of the user: in one line."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message} (see --help)")
