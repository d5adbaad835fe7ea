"""What runs left, on one page that a browser shows without a network.

``page.html`` is the template; its style and script, the tables and the pictures all stand in the
page itself, and its policy lets a browser load and run nothing else.
"""

from base64 import b64encode
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from matplotlib.figure import Figure

from qmoe_fed.config import Config
from qmoe_fed.data import RAW
from qmoe_fed.errors import UserError
from qmoe_fed.results.figures import charts, draw, save_all
from qmoe_fed.results.load import Run, load_run
from qmoe_fed.results.report import pictures, tables
from qmoe_fed.results.run_directory import read_about, read_json, read_lines, write_whole

__all__ = ["leave", "report"]

MARK = '<meta name="generator" content="qmoe-fed">'
"""Stands in every page, so that no other file is taken for one and written over."""


def leave(path: Path) -> Path:
    """Draw the pictures of a run that has ended into its ``figures/``, and its ``report.html``.

    Returns:
        The page.

    Raises:
        UserError: There is no such run, or its directory cannot be written to.
    """
    run = _open(path)
    figures = _draw(run)
    save_all(run, figures)
    return _write(path / "report.html", {path.name: run}, [figures])


def report(paths: Sequence[Path], output: Path | None = None) -> Path:
    """Write the page of runs that have ended, side by side if there are several.

    Args:
        paths: Their directories.
        output: The page; by default ``report.html``, in the directory of the run if it is one, else
            in the working directory.

    Returns:
        The page.

    Raises:
        UserError: A directory holds no such run, or one of several failed; or the page is a file
            that is none of ours, or cannot be written.
    """
    opened = map(load_run if len(paths) > 1 else _open, paths)
    runs = dict(zip(_names(paths), opened, strict=True))
    output = output or (paths[0] if len(paths) == 1 else Path()) / "report.html"
    if output.is_dir() or (output.exists() and MARK not in _beginning(output)):
        raise UserError(f"{output} is there and no report: name another file with --output")
    return _write(output, runs, [_draw(run) for run in runs.values()])


def _open(path: Path) -> Run:
    """Open a finished run; or one that failed, with its settings and rounds and no model."""
    about, summary, rounds = read_about(path), path / "summary.json", path / "metrics.jsonl"
    if not summary.is_file() or (end := read_json(summary)).get("status") != "failed":
        return load_run(path)
    records = read_lines(rounds) if rounds.exists() else []
    return Run(path, Config.from_flat(about["settings"]), end, records, RAW, {})


def _draw(run: Run) -> dict[str, Figure]:
    if run.summary["status"] != "failed":
        return draw(run)
    curves = sum("accuracy" in record for record in run.records) > 1
    return {"learning-curves": charts.learning_curves(run)} if curves else {}


def _beginning(file: Path) -> str:
    try:
        with file.open("rb") as content:
            return content.read(1000).decode(errors="replace")
    except OSError as error:
        raise UserError(f"cannot read {file}: {error.strerror}") from error


def _names(paths: Sequence[Path]) -> list[str]:
    """Return what runs are called on the page: their directories, numbered where these are."""
    names = [path.absolute().name for path in paths]
    return [f"{n} #{i}" if names.count(n) > 1 else n for i, n in enumerate(names, 1)]


def _write(output: Path, runs: Mapping[str, Run], drawn: Sequence[Mapping[str, Figure]]) -> Path:
    try:
        page = _page(runs, drawn)
    except UserError:
        raise
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        where = ", ".join(str(run.path) for run in runs.values())
        raise UserError(f"the run in {where} is damaged: {error!r}") from error
    write_whole(output, page.encode())
    return output


def _page(runs: Mapping[str, Run], drawn: Sequence[Mapping[str, Figure]]) -> str:
    loader = PackageLoader("qmoe_fed.results", "report")
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined)
    environment.trim_blocks = environment.lstrip_blocks = True
    script, look = (environment.get_template(name).render() for name in ("page.js", "page.css"))
    beside = [tables.what_was_run(runs), tables.result(runs)]
    compared = []
    if len(runs) > 1:
        beside.append(tables.unlike(runs))
        plain = {name.replace("$", r"\$"): run for name, run in runs.items()}  # no formulas
        compared = [pictures.embed("comparison", charts.compare_curves(plain))]
    parts = []
    for (name, run), figures in zip(runs.items(), drawn, strict=True):
        shown = [pictures.embed(key, figure) for key, figure in figures.items()]
        parts.append((name, shown, tables.clients(run), tables.details(run)))
    hashed = b64encode(sha256(script.encode()).digest()).decode()
    return environment.get_template("page.html").render(
        mark=Markup(MARK),
        names=", ".join(runs),
        script=Markup(script),
        hashed=hashed,
        style=Markup(look),
        beside=beside,
        compared=compared,
        parts=parts,
    )
