"""The noise study's rows as tables, published numbers beside them, and pictures."""

import math
import tomllib
from collections.abc import Callable, Sequence
from functools import partial
from itertools import cycle
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MultipleLocator

from qmoe_fed.circuits.noise.placement import depolarizing_from_qiskit, depolarizing_to_qiskit
from qmoe_fed.experiments.breakdown import Breakdown, breakdown
from qmoe_fed.experiments.measures.noise import MEASUREMENT, TEST, TRAINING
from qmoe_fed.experiments.statistics import Interval
from qmoe_fed.experiments.views.lines import Level, Panel, Series, draw_panels
from qmoe_fed.experiments.views.published import Line, comparison, lines, read_published
from qmoe_fed.experiments.views.tables import NONE, Table, make_tables, only, percent
from qmoe_fed.results.figures import style

HERE = Path(__file__).parent
GRID = tomllib.loads((HERE / "noise.toml").read_text())
PUBLISHED, NOTEBOOK = (read_published(HERE / "published.toml", n) for n in ("noise", "notebook"))
TABLE_II = [n.rows["error"] for n in PUBLISHED.values() if "error" in n.rows and not n.minus]
LOSS = 0.10  # of accuracy since no noise: the second criterion of breakdown
CLEAN, NOISY, MAIN = "trained-clean", "trained-noisy", "depolarizing"
LABELS, KINDS, PLACES = (GRID["labels"][name] for name in ("models", "protocols", "placements"))
STRENGTH = "depolarizing p (PennyLane: ⟨Z⟩ × (1 - 4p/3))"
COLORS = style.BLUE, style.VERMILLION, style.GREEN, style.PURPLE, style.ORANGE
READINGS: dict[str, float] = {"p": 1.0, "λ": depolarizing_from_qiskit(1.0)}


class Noise:
    """What was measured, grouped for tables; ``seed`` keys the resamples behind breakdowns."""

    def __init__(self, rows: pd.DataFrame, seed: int) -> None:
        linear = rows["model"] == "linear"
        self.linear, self.seed = rows[linear], seed
        rows = rows[~linear].astype({"shots": int})
        self.notebook = only(rows, model="notebook")
        order = ["model", "protocol", "shots"]  # the paper's circuit first, trained without noise
        rows = rows[rows["model"] != "notebook"].sort_values(order, kind="stable")
        main = rows["channel"] == MAIN
        self.exact, self.channels = rows[main & (rows["shots"] == 0)], rows[~main]
        self.shots = rows[main & (rows["shots"] > 0) & (rows["placement"] == "gate")]
        self.rates = sorted(self.linear["rate"].unique())

    @property
    def grouped(self) -> pd.DataFrame:
        """All rows by the ``group`` of tables and ``name`` in them, Model A at every strength."""
        found = []
        for group in ("exact", "channels", "shots"):
            own: pd.DataFrame = vars(self)[group]
            strengths = own[["rate", "strength"]].drop_duplicates()
            linear = self.linear.drop(columns="strength", errors="ignore").merge(strengths)
            found += [linear.assign(name="A: linear", group=group)]
            names = [_name(row) for row in own.to_dict("records")]
            found += [own.assign(name=names, group=group)]
        return pd.concat(found)

    def linear_at(self, rate: float) -> pd.DataFrame:
        """Return Model A, fitted with a learning rate; it knows no noise."""
        return only(self.linear, rate=rate)

    def below_linear(self, curve: pd.DataFrame) -> Breakdown:
        """Return where a curve falls below Model A, fitted with the same learning rate."""
        level = self.linear_at(curve["rate"].iloc[0]).sort_values("seed")["accuracy"]
        wide = _wide(curve)
        return breakdown(wide.index, wide.to_numpy(), level.to_numpy(), self.seed)

    def loses(self, curve: pd.DataFrame) -> Breakdown:
        """Return where a curve has lost ten points of what it has without noise."""
        wide = _wide(curve)
        accuracy = wide.to_numpy()
        return breakdown(wide.index, accuracy, accuracy[0] - LOSS, self.seed)


def _name(row: dict[str, object]) -> str:
    """Return what tells a curve from the others of its table."""
    main, shots = row["channel"] == MAIN, row["shots"]
    what = [LABELS.get(f"{row['model']}", "") if main or shots else f"{row['channel']}"]
    if shots:
        what.append(f"{shots} shots")
    elif row["placement"] != MEASUREMENT:
        what.append(f"{row['placement']}")
    if main:
        what.append(f"{row['protocol']}".removeprefix("trained-"))
    return ", ".join(what)


def _wide(curve: pd.DataFrame) -> pd.DataFrame:
    """Return accuracy by strength and seed, both ascending."""
    return curve.pivot(index="strength", columns="seed", values="accuracy")


def tables(study: Noise) -> list[Table]:
    """Return all tables."""

    def shown(curve: pd.DataFrame, point: Callable[[pd.DataFrame], Breakdown]) -> str:
        linear = curve["model"].iloc[0] == "linear"
        return NONE if linear else point(curve).text(curve["strength"].max())

    points = {"below": study.below_linear, "loses": study.loses}
    columns = {name: partial(shown, point=point) for name, point in points.items()}
    found = make_tables(GRID["tables"], study.grouped, **columns)
    return [*found, *(_table_ii(study, protocol) for protocol in KINDS), _notebook(study)]


def _table_ii(study: Noise, protocol: str) -> Table:
    curves = only(study.exact, model="quantum", placement="gate", protocol=protocol)
    cases = [(rate, name, unit) for rate in study.rates for name, unit in READINGS.items()]

    def read(frame: pd.DataFrame, rate: float, unit: float) -> pd.DataFrame:
        own = only(frame, rate=rate)
        return own.assign(error=own["strength"] / unit)

    both = pd.concat([curves, study.linear])
    selects = [partial(read, rate=rate, unit=unit) for rate, _, unit in cases]
    found = [x for n in PUBLISHED.values() if n.rows for x in lines(n, both, selects, run=True)]
    for name, point in (("below-linear", study.below_linear), ("loses", study.loses)):
        at = [(point(only(curves, rate=rate)).scaled(1 / unit), unit) for rate, _, unit in cases]
        texts = [own.text(curves["strength"].max() / unit) for own, unit in at]
        judged = [PUBLISHED[name].judge(Interval(own.strength, own.low, own.high)) for own, _ in at]
        found.append(Line(PUBLISHED[name], texts, judged))
    return comparison(
        f"Paper's Table II (depolarizing after every gate) beside ours, {KINDS[protocol]}",
        found,
        "; ".join(f"lr {rate:g}, {name}" for rate, name, _ in cases),
        GRID["notes"]["table-ii"],
    )


def _notebook(study: Noise) -> Table:
    training, test = (only(study.notebook, samples=samples) for samples in (TRAINING, TEST))
    found = []
    for number in NOTEBOOK.values():
        (line,) = lines(number, training, [lambda frame: frame], run=True)
        own = only(test, **number.rows)["accuracy"]
        on_test = f"ours on test samples {percent(own, run=True)}"
        found.append(Line(number, line.ours, line.found, on_test))
    return comparison(
        "The notebook on noise beside ours, trained under the noise",
        found,
        "training samples",
        GRID["notes"]["notebook"],
    )


Parts = list[Series | Level]


def draw(study: Noise) -> dict[str, Figure]:
    """Return all pictures by name."""
    grid = partial(_grid, study)
    return {
        "accuracy_by_noise": grid(PLACES, partial(_placements, study), STRENGTH, 3),
        "accuracy_by_channel": grid(PLACES, partial(_channels, study), "p or γ of the channel", 3),
        "accuracy_by_shots": grid(KINDS, partial(_shots, study), STRENGTH, 5),
    }


def _placements(study: Noise, rate: float, placement: str) -> Parts:
    """Return training without and under noise, breakdown points and the paper's Table II."""
    rows, parts, colors = only(study.exact, rate=rate, placement=placement), Parts(), iter(COLORS)
    for model, label in (("quantum", "B: quantum"), ("reuploading", "B, re-uploading")):
        for protocol, kind in KINDS.items():
            curve, color = only(rows, model=model, protocol=protocol), next(colors)
            parts.append(_line(curve, f"{label}, {kind}", color))
            wide = _wide(curve)
            for found, marker in ((study.below_linear(curve), "v"), (study.loses(curve), "s")):
                at = [found.strength] if math.isfinite(found.strength) else []
                level = np.interp(at, wide.index, 100 * wide.mean(axis=1))
                parts.append(Series("_", at, level, color).as_points(marker))
    for label, marker in (("falls below A", "v"), ("ten points lost", "s")):
        parts.append(Series(label, [], [], style.GREY).as_points(marker))
    if placement == "gate":
        paper = [100 * PUBLISHED[f"accuracy-{error:g}"].value for error in TABLE_II]
        for name, marker, unit in (("p", "x", 1.0), ("λ = 4p/3", "+", READINGS["λ"])):
            label, x = f"paper's Table II, rate read as {name}", np.array(TABLE_II) * unit
            parts.append(Series(label, x, paper, style.BLACK).as_points(marker))
    return parts


def _channels(study: Noise, rate: float, placement: str) -> Parts:
    """Return every channel for the paper's circuit, trained without noise."""
    rows = pd.concat([study.exact, study.channels])
    rows = only(rows, model="quantum", protocol=CLEAN, rate=rate)
    colors = dict(zip(rows["channel"].unique(), COLORS, strict=False))
    here = rows[rows["placement"].isin([placement, MEASUREMENT])]
    by_channel = here.groupby("channel", sort=False)
    return [_line(own, name.replace("-", " "), colors[name]) for name, own in by_channel]


def _shots(study: Noise, rate: float, protocol: str) -> Parts:
    """Return finite shots for the paper's circuit, noise after every gate; exact ones on top."""
    about = {"model": "quantum", "placement": "gate", "protocol": protocol, "rate": rate}
    by_shots = only(study.shots, **about).groupby("shots")
    parts: Parts = [
        _line(curve, f"{shots:,} shots", color)
        for (shots, curve), color in zip(by_shots, cycle(COLORS), strict=False)
    ]
    exact = _line(only(study.exact, **about), "exact probabilities", style.BLACK)
    return [*parts, exact.dotted()]


def _line(curve: pd.DataFrame, label: str, color: str) -> Series:
    wide = _wide(curve)
    return Series.of(label, wide.index, list(wide.to_numpy()), color)


def _grid(
    study: Noise,
    titles: dict[str, str],
    parts: Callable[[float, str], Parts],
    x: str,
    legend_columns: int,
) -> Figure:
    """Draw a row of panels per learning rate, a column per key of ``titles``."""
    panels: list[Sequence[Panel]] = []
    for rate in study.rates:
        first, last = rate == study.rates[0], rate == study.rates[-1]
        a = Level("A: linear", study.linear_at(rate)["accuracy"], style.GREY)
        panels.append(
            [
                Panel(
                    [a, *parts(rate, key)],
                    title if first else "",
                    x if last else "",
                    "test accuracy (%)" if key == next(iter(titles)) else "",
                    partial(_finish, rate=rate, scale=first and x == STRENGTH),
                )
                for key, title in titles.items()
            ]
        )
    return draw_panels(panels, 1.2 + 1.9 * len(panels), columns=legend_columns)


def _finish(ax: Axes, rate: float, scale: bool) -> None:
    ax.text(0.02, 0.04, f"learning rate {rate:g}", transform=ax.transAxes, fontsize=style.SMALL)
    ax.set_ylim(max(0, ax.get_ylim()[0]), 101)
    ax.xaxis.set_major_locator(MultipleLocator(0.05))
    if scale:
        to_and_from = depolarizing_to_qiskit, depolarizing_from_qiskit
        top = ax.secondary_xaxis("top", functions=to_and_from)
        top.set_xlabel("λ (Qiskit: ⟨Z⟩ × (1 - λ))", fontsize=style.SMALL)
        top.tick_params(labelsize=style.SMALL, length=2.5, width=style.THIN)
