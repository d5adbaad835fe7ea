"""The tables of a page: what each of their cells says."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from qmoe_fed.config import Config
from qmoe_fed.errors import UserError
from qmoe_fed.results.figures.charts import evenly_spaced
from qmoe_fed.results.load import Run
from qmoe_fed.results.report.pictures import Picture, embed, ranking
from qmoe_fed.results.run_directory import read_about
from qmoe_fed.results.summary import (
    NOISE_SOURCES,
    PLACES,
    differing,
    figures_of,
    percent,
    unseen_of,
    unseen_title,
)

MOST_ROWS = 10_000
NONE = "–"


@dataclass(frozen=True)
class Table:
    """A table of a page, its cells as they are shown; the first of a row says what it is about.

    Attributes:
        title: What is in it.
        header: Names of the columns.
        rows: The cells.
        words: Whether there are words in it, which are flush left, or numbers only.
        folded: Whether it is shown when asked for.
    """

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    words: bool = False
    folded: bool = False


@dataclass(frozen=True)
class Clients:
    """The clients of a run, those of the lowest accuracy first, in a picture and in a table."""

    picture: Picture
    table: Table


def what_was_run(runs: Mapping[str, Run]) -> Table:
    """Return by run: app, start, versions, and the settings that are not the default in any."""
    usual, columns = Config().to_flat(), {}
    flat = {name: run.config.to_flat() for name, run in runs.items()}
    changed = [k for k in usual if any(own[k] != usual[k] for own in flat.values())]
    for name, run in runs.items():
        about = read_about(run.path)
        versions = {f"version of {k}": number for k, number in about["versions"].items()}
        facts = {"directory": run.path, "app": about["app"], "started": about["started"]}
        facts |= {key: flat[name][key] for key in changed if key not in PLACES}
        columns[name] = {**facts, "version of Python": about["python"], **versions}
    return _beside("What was run", columns)


def result(runs: Mapping[str, Run]) -> Table:
    """Return the figures of each run's summary, and the hosts that are missing in it.

    Of a run that failed, why, and how far it came.
    """
    columns: dict[str, dict[str, str]] = {}
    for name, run in runs.items():
        if run.summary["status"] == "failed":
            why = " ".join(f"failed: {run.summary['error']}: {run.summary['reason']}".split())
            rounds = f"{run.summary['rounds']} of {run.config.federation.num_server_rounds}"
            columns[name] = {"status": why, "rounds": rounds}
            continue
        missing = ", ".join(map(str, run.summary.get("hosts_missing", ())))
        columns[name] = {**figures_of(run.summary), "hosts without saved experts": missing or "0"}
    return _beside("Result", columns)


def unlike(runs: Mapping[str, Run]) -> Table:
    """Return the settings in which runs differ."""
    flat = {name: run.config.to_flat() for name, run in runs.items()}
    keys = differing([*flat.values()])
    columns = {name: {key: own[key] for key in keys} for name, own in flat.items()}
    return _beside("Settings that differ", columns)


def _beside(title: str, columns: Mapping[str, Mapping[str, object]]) -> Table:
    """Return a table with a column for each run, and a row for each fact that any has."""
    keys = dict.fromkeys(key for own in columns.values() for key in own)
    rows = [(key, *(_shown(own.get(key)) for own in columns.values())) for key in keys]
    return Table(title, ("", *columns), rows, words=True)


def details(run: Run) -> list[Table]:
    """Return what there is of one run besides."""
    rounds = [_left_out(run), _rounds(run), _settings(run)]
    if run.summary["status"] == "failed":
        return rounds
    unseen = [_unseen(run)] if run.summary["unseen"] else []
    return [*unseen, _privacy(run), *rounds]


def clients(run: Run) -> Clients | None:
    """Return the clients' last scores, of very many evenly spaced ones; None if not here."""
    try:
        frame = run.clients.sort_values(["accuracy", "loss"], ascending=[True, False])
    except UserError:  # they stay with their hosts
        return None
    total, experts = len(frame), run.config.model.num_experts
    first = ["client", "accuracy", "loss"]
    frame = frame.iloc[evenly_spaced(total, MOST_ROWS)]
    frame = frame[[*first, *frame.columns.difference(first, sort=False)]]
    load = frame[[f"load-{i}" for i in range(experts)]].to_numpy()
    accuracy = frame["accuracy"].to_numpy()
    frame["accuracy"] = [percent(value) for value in accuracy]
    title = f"{len(frame):,} clients" + (f" of {total:,}" if len(frame) < total else "")
    rows = [[*map(_shown, row)] for row in frame.itertuples(index=False)]
    figure = ranking(accuracy, load.argmax(1), experts)
    return Clients(embed("clients", figure), Table(title, [*frame], rows))


def _unseen(run: Run) -> Table:
    rows = [(label, *values) for label, values in unseen_of(run.summary).items()]
    return Table(
        unseen_title(run.summary), ("labelled samples", *run.summary["unseen"]["scratch"]), rows
    )


def _privacy(run: Run) -> Table:
    """Return what was promised and what was spent; the settings are those of the mechanisms."""
    summary, settings = run.summary, run.config.privacy
    if not settings.mechanisms:
        return Table("Privacy", ("", "value"), [("mechanisms", "none")], words=True)
    spent = {"mechanisms": settings.mechanisms, "ε spent": summary["epsilon"]}
    spent |= {"δ": summary["delta"], "ε at most": settings.max_epsilon or None}
    spent["noise comes from"] = NOISE_SOURCES.get(summary["noise_source"])
    names = ("clip", "clip_norm", "noise_multiplier", "mechanism_options")
    spent |= {name.replace("_", "-"): vars(settings)[name] or None for name in names}
    rows = [(name, _shown(value)) for name, value in spent.items()]
    return Table("Privacy", ("", "value"), rows, words=True)


def _left_out(run: Run) -> Table:
    """Return who was left out of rounds, those most often first, and why the last time."""
    found: dict[int, list[tuple[int, str]]] = {}
    for record in run.records:
        for one in record.get("rejections", ()):
            found.setdefault(one["client"], []).append((record["round"], one["reason"]))
    often = sorted(found.items(), key=lambda item: -len(item[1]))[:MOST_ROWS]
    rows = [
        (f"{client}", f"{len(own)}", f"{own[0][0]}", f"{own[-1][0]}", own[-1][1])
        for client, own in often
    ]
    header = ("client", "rounds", "first", "last", "reason, the last time")
    return Table(f"{len(found):,} clients left out of rounds", header, rows, words=True)


def _rounds(run: Run) -> Table:
    """Return how accuracy and loss went, and every number that the strategy reported."""
    rows = []
    for record in run.records:
        row: dict[str, object] = {"round": record["round"]}
        for metric in ("accuracy", "loss"):
            scores = record.get(metric, {})
            row[metric] = scores.get("mean")
            row[f"{metric}, worst 10%"] = scores.get("worst10")
        row["left out"] = len(record.get("rejections", ()))
        reported = record.get("train", {}).items()
        row |= {k: v for k, v in reported if isinstance(v, int | float)}
        rows.append({**row, "seconds": record["seconds"]})
    keys = [*dict.fromkeys(key for row in rows for key in row)]
    cells = [[_shown(row.get(key)) for key in keys] for row in rows]
    return Table(f"{len(rows):,} rounds", keys, cells, folded=True)


def _settings(run: Run) -> Table:
    usual = Config().to_flat()
    rows = [(key, _shown(v), _shown(usual[key])) for key, v in run.config.to_flat().items()]
    return Table("All settings", ("setting", "value", "default"), rows, words=True, folded=True)


def _shown(value: object) -> str:
    """Return a value as a cell says it: numbers with four digits, a dash for none."""
    if isinstance(value, float):
        if value.is_integer() and abs(value) < 1e15:
            return f"{value:,.0f}"
        return f"{value:.4g}" if math.isfinite(value) else NONE
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return NONE if value is None or value == "" else f"{value}"
