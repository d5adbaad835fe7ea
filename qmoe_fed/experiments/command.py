"""The command line of a study: where its settings come from, what it writes, how it ends."""

import argparse
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Generic, NoReturn, TypeVar

import torch
from matplotlib.figure import Figure

from qmoe_fed.config.settings import Section, Tree, between, kebab, read_toml, setting
from qmoe_fed.errors import UserError
from qmoe_fed.experiments.cells import Cell
from qmoe_fed.experiments.engine import Runner, Store
from qmoe_fed.experiments.views.tables import Table, make_tables
from qmoe_fed.results.figures.style import save
from qmoe_fed.results.progress import say
from qmoe_fed.results.run_directory import write_whole
from qmoe_fed.signals import Stopped, stoppable


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
    """What a study shows: tables, pictures by name, notes."""

    tables: Sequence[Table]
    pictures: Mapping[str, Figure] = field(default_factory=dict)
    notes: Sequence[str] = ()


Settings = TypeVar("Settings", bound=Tree)


@dataclass(frozen=True)
class Study(Generic[Settings]):
    """A study that can be run from the command line.

    Attributes:
        name: Of the study and of its default directory.
        description: For ``--help``.
        settings: Type of its settings, with a section ``scope``.
        report: Runs its cells and shows what came of them.
        sizes: Settings that an option ``--<name>`` stands for, by name.
        check: Raises UserError if something is missing, before anything is written.
    """

    name: str
    description: str
    settings: type[Settings]
    report: Callable[[Settings, Runner], Report]
    sizes: Mapping[str, Mapping[str, Any]]
    check: Callable[[Settings], object] = lambda settings: None


def tabled(
    name: str,
    description: str,
    settings: type[Settings],
    cells: Callable[[Settings], Iterable[Cell]],
    tables: Sequence[Mapping[str, Any]],
    quick: Mapping[str, Any],
) -> Study[Settings]:
    """Return the study that runs cells and shows tables, described as in ``make_tables``."""

    def report(settings: Settings, run: Runner) -> Report:
        return Report(make_tables(tables, run([*cells(settings)])))

    return Study(name, description, settings, report, {"quick": quick})


def main(study: Study[Settings], arguments: Sequence[str] | None = None) -> int:
    """Run a study as the command line says, which goes before ``--quick`` and the config file.

    Returns:
        The exit status: 0, all done; 2, what the user asked for cannot be done; 128 + n, stopped
        by signal n.
    """
    try:
        settings = _settings(study, arguments)
        torch.set_num_threads(1)  # the tensors are small, and there are processes for the cores
        with stoppable():
            _run(study, settings)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except Stopped as stop:
        print("stopped; the same command goes on from here", file=sys.stderr)
        return 128 + stop.signal
    return 0


def _run(study: Study[Settings], settings: Settings) -> None:
    began = time.perf_counter()
    scope: Scope = vars(settings)["scope"]
    study.check(settings)
    default = f"runs/{study.name}{'-quick' if scope.quick else ''}"
    folder = Path(scope.output_dir or default).expanduser()
    report = study.report(settings, Runner(Store(folder, study.name, settings), scope.processes))
    quick = ["A quick look: so few seeds and epochs decide nothing."] if scope.quick else []
    for note in report.notes:
        say(note)
    for table in report.tables:
        table.print()
    heading = f"# {study.name}, seeds {scope.streams[0]} to {scope.streams[-1]}"
    parts = [heading, *quick, *report.notes, *(table.markdown() for table in report.tables)]
    write_whole(folder / "tables.md", "\n\n".join(parts).encode())
    for name, figure in report.pictures.items():
        save(figure, folder / "figures" / f"{name}.png")
    seconds = time.perf_counter() - began
    say("\n".join(["", *quick, f"{seconds:.0f} s; records, tables and pictures: {folder}"]))


def _settings(study: Study[Settings], arguments: Sequence[str] | None) -> Settings:
    plain = argparse.RawDescriptionHelpFormatter
    parser = _Parser(description=study.description, formatter_class=plain)
    add = parser.add_argument
    add("--config", metavar="FILE", help="TOML file of settings, as those in configs/")
    add("--output-dir", metavar="DIR", help=f"of the results (default: runs/{study.name})")
    add("--data-dir", metavar="DIR", help="holds mnist/ and fashion-mnist/ with their IDX files")
    add("--seeds", type=int, metavar="K", help="number of seeds: of the data and of the start")
    add("--first-seed", type=int, metavar="K", help="the first of them; others are fresh samples")
    add("--processes", type=int, metavar="K", help="processes that share the work")
    scope: Any = next(item.type for item in fields(study.settings) if item.name == "scope")
    for item in fields(scope):
        if item.name not in {known.name for known in fields(Scope)}:
            add(f"--{kebab(item.name)}", type=item.type, metavar="X", help="a setting of its scope")
    size = parser.add_mutually_exclusive_group()
    for name, settings in study.sizes.items():
        text = ", ".join(f"{key} = {value}" for key, value in settings.items())
        size.add_argument(f"--{name}", dest="chosen", action="store_const", const=name, help=text)
    options = vars(parser.parse_args(arguments))
    file, chosen = options.pop("config"), options.pop("chosen")
    given = {key.replace("_", "-"): value for key, value in options.items() if value is not None}
    written = read_toml(file) if file else {}
    return study.settings.from_flat({**written, **study.sizes.get(chosen, {}), **given})


class _Parser(argparse.ArgumentParser):
    """Reports bad arguments like every other mistake of the user: in one line."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message} (see --help)")
