"""The noise study's rows as tables, published numbers beside them, and pictures."""

import math
from collections.abc import Callable
from functools import partial
from itertools import cycle, product
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MultipleLocator

from qmoe_fed.circuits.noise.placement import depolarizing_from_qiskit, depolarizing_to_qiskit
from qmoe_fed.config.settings import read_toml
from qmoe_fed.experiments.measures.noise import MEASUREMENT, TEST, TRAINING
from qmoe_fed.experiments.statistics import Interval, breakdown
from qmoe_fed.experiments.views import pictures
from qmoe_fed.experiments.views.published import comparison, line, lines, read_published
from qmoe_fed.experiments.views.tables import NONE, Table, make_tables, only, percent
from qmoe_fed.results.figures import style

HERE = Path(__file__).parent
GRID = read_toml(HERE / "noise.toml")
PUBLISHED, NOTEBOOK = (read_published(HERE / "published.toml", n) for n in ("noise", "notebook"))
TABLE_II = [n.rows["error"] for n in PUBLISHED.values() if "error" in n.rows and not n.minus]
LOSS = 0.10  # of accuracy since no noise: the second criterion of breakdown
CLEAN, NOISY, MAIN = "trained-clean", "trained-noisy", "depolarizing"
LABELS, KINDS, PLACES = (GRID["labels"][name] for name in ("models", "protocols", "placements"))
STRENGTH = "depolarizing p (PennyLane: ⟨Z⟩ × (1 - 4p/3))"
COLORS = style.BLUE, style.VERMILLION, style.GREEN, style.PURPLE, style.ORANGE
CRITERIA = {"below-linear": ("falls below A", "v"), "loses": ("ten points lost", "s")}
READINGS: dict[str, float] = {"p": 1.0, "λ": depolarizing_from_qiskit(1.0)}


def described(rows: pd.DataFrame) -> pd.DataFrame:
    """Return rows by the ``group`` of tables they are in and their ``name`` there.

    Model A, which knows no noise, is in every group at every strength, and alone in ``linear``. Of
    the others ``linear`` is the accuracy of Model A fitted with the same learning rate and seed.
    """
    is_a = rows["model"] == "linear"
    a = rows[is_a].drop(columns="strength", errors="ignore")
    level = a[["rate", "seed", "accuracy"]].rename(columns={"accuracy": "linear"})
    rows = rows[~is_a].astype({"shots": int}).merge(level, "left")
    books = rows["model"] == "notebook"
    order = ["model", "protocol", "shots"]  # the paper's circuit first, trained without noise
    own = rows[~books].sort_values(order, kind="stable")
    main, exact, gate = own["channel"] == MAIN, own["shots"] == 0, own["placement"] == "gate"
    label, place = own["model"].map(LABELS), ", " + own["placement"]
    kind = ", " + own["protocol"].str.removeprefix("trained-")
    channel = own["channel"] + place.where(own["placement"] != MEASUREMENT, "")
    names = {
        "exact": (main & exact, label + place + kind),
        "channels": (~main, channel),
        "shots": (main & ~exact & gate, label + ", " + own["shots"].astype(str) + " shots" + kind),
    }
    found = [a.assign(group="linear"), rows[books].assign(group="notebook")]
    for group, (those, name) in names.items():
        part = own[those].assign(name=name)
        everywhere = a.merge(part[["rate", "strength"]].drop_duplicates()).assign(name="A: linear")
        found += [everywhere.assign(group=group), part.assign(group=group)]
    return pd.concat(found)


def breaks_down(curve: pd.DataFrame, criterion: str, seed: int) -> Interval:
    """Return where a curve falls below Model A, or loses ten points of what it has without noise.

    The criterion is one of ``CRITERIA``; ``seed`` keys the resamples behind the interval.
    """
    wide = curve.pivot(index="strength", columns="seed", values=["accuracy", "linear"])
    accuracy = wide["accuracy"].to_numpy()
    level = wide["linear"].to_numpy() if criterion == "below-linear" else accuracy - LOSS
    return breakdown(wide.index, accuracy, level[0], seed)


def shown(point: Interval, largest: float) -> str:
    """Return a strength for a table; ``largest`` is the largest that was measured."""
    if math.isinf(point.low):
        return f"not reached up to {largest:.3g}"
    ends = point.mean, point.low, point.high
    texts = (f"> {largest:.3g}" if math.isinf(end) else f"{end:.3g}" for end in ends)
    return "{} [{}, {}]".format(*texts)


def tables(rows: pd.DataFrame, seed: int) -> list[Table]:
    """Return all tables of described rows."""

    def cell(curve: pd.DataFrame, name: str) -> str:
        linear = curve["model"].iloc[0] == "linear"
        return NONE if linear else shown(breaks_down(curve, name, seed), curve["strength"].max())

    columns = {name: partial(cell, name=name) for name in CRITERIA}
    found = make_tables(GRID["tables"], rows, **columns)
    return [*found, *(table_ii(rows, seed, protocol) for protocol in KINDS), _notebook(rows)]


def table_ii(rows: pd.DataFrame, seed: int, protocol: str) -> Table:
    """Return the paper's Table II beside ours, with both readings of its error rate."""
    linear = only(rows, group="linear")
    about = {"group": "exact", "model": "quantum", "placement": "gate", "protocol": protocol}
    curves = only(rows, **about)
    both = pd.concat([curves, linear])
    rates = sorted(set(linear["rate"]))
    cases = [(rate, name, unit) for rate in rates for name, unit in READINGS.items()]

    def read(frame: pd.DataFrame, rate: float, unit: float) -> pd.DataFrame:
        own = only(frame, rate=rate)
        return own.assign(error=own["strength"] / unit)

    selects = [partial(read, rate=rate, unit=unit) for rate, _, unit in cases]
    found = [x for n in PUBLISHED.values() if n.rows for x in lines(n, both, selects, run=True)]
    for name in CRITERIA:
        points = [
            breaks_down(only(curves, rate=rate), name, seed).scaled(1 / unit)
            for rate, _, unit in cases
        ]
        most = [curves["strength"].max() / unit for _, _, unit in cases]
        judged = [PUBLISHED[name].judge(point) for point in points]
        found.append(line(PUBLISHED[name], [*map(shown, points, most)], judged))
    return comparison(
        f"Paper's Table II (depolarizing after every gate) beside ours, {KINDS[protocol]}",
        found,
        "; ".join(f"lr {rate:g}, {name}" for rate, name, _ in cases),
        GRID["notes"]["table-ii"],
    )


def _notebook(rows: pd.DataFrame) -> Table:
    books, found = only(rows, group="notebook"), []
    for number in NOTEBOOK.values():
        test = only(books, samples=TEST, **number.rows)["accuracy"]
        about = f"ours on test samples {percent(test, run=True)}"
        found += lines(number, books, [partial(only, samples=TRAINING)], run=True, about=about)
    title = "The notebook on noise beside ours, trained under the noise"
    return comparison(title, found, "training samples", GRID["notes"]["notebook"])


def draw(rows: pd.DataFrame, seed: int) -> dict[str, Figure]:
    """Return all pictures of described rows by name."""
    return {
        "accuracy_by_noise": _grid(rows, PLACES, partial(_placement, seed=seed), STRENGTH, 3),
        "accuracy_by_channel": _grid(rows, PLACES, _channels, "p or γ of the channel", 3),
        "accuracy_by_shots": _grid(rows, KINDS, _shots, STRENGTH, 5),
    }


def _grid(
    rows: pd.DataFrame,
    titles: dict[str, str],
    draw_one: Callable[[Axes, pd.DataFrame, str], None],
    x: str,
    legend_columns: int,
) -> Figure:
    """Draw a row of panels per learning rate, a column per key of ``titles``."""
    rates, left = sorted(set(only(rows, group="linear")["rate"])), next(iter(titles))
    figure, axes = pictures.new_panels(2 * len(rates), 2, 1.2 + 1.9 * len(rates))
    for ax, (rate, key) in zip(axes, product(rates, titles), strict=True):
        own, first, last = only(rows, rate=rate), rate == rates[0], rate == rates[-1]
        a = only(own, group="linear")["accuracy"]
        pictures.draw_level(ax, "A: linear", a, style.GREY)
        draw_one(ax, own, key)
        y = "test accuracy (%)" if key == left else ""
        style.dress(ax, titles[key] if first else "", x if last else "", y)
        ax.text(0.02, 0.04, f"learning rate {rate:g}", transform=ax.transAxes, fontsize=style.SMALL)
        ax.set_ylim(max(0, ax.get_ylim()[0]), 101)
        ax.xaxis.set_major_locator(MultipleLocator(0.05))
        if first and x == STRENGTH:
            to_and_from = depolarizing_to_qiskit, depolarizing_from_qiskit
            top = ax.secondary_xaxis("top", functions=to_and_from)
            top.set_xlabel("λ (Qiskit: ⟨Z⟩ × (1 - λ))", fontsize=style.SMALL)
            top.tick_params(labelsize=style.SMALL, length=2.5, width=style.THIN)
    pictures.add_legend(figure, columns=legend_columns)
    return figure


def _placement(ax: Axes, rows: pd.DataFrame, placement: str, seed: int) -> None:
    """Draw training without and under noise, breakdown points and the paper's Table II."""
    rows = only(rows, group="exact", placement=placement)
    labels = {"quantum": "B: quantum", "reuploading": "B, re-uploading"}
    points = partial(pictures.draw_line, linestyle="none")
    for (model, protocol), color in zip(product(labels, KINDS), COLORS, strict=False):
        curve = only(rows, model=model, protocol=protocol)
        _draw_curve(ax, curve, f"{labels[model]}, {KINDS[protocol]}", color)
        mean = 100 * curve.groupby("strength")["accuracy"].mean()
        for criterion, (_, marker) in CRITERIA.items():
            at = [x for x in [breaks_down(curve, criterion, seed).mean] if math.isfinite(x)]
            points(ax, "_", at, np.interp(at, mean.index, mean), color, marker=marker)
    for label, marker in CRITERIA.values():
        points(ax, label, [], [], style.GREY, marker=marker)
    if placement == "gate":
        paper = [100 * PUBLISHED[f"accuracy-{error:g}"].value for error in TABLE_II]
        for name, marker, unit in (("p", "x", 1.0), ("λ = 4p/3", "+", READINGS["λ"])):
            label, x = f"paper's Table II, rate read as {name}", np.array(TABLE_II) * unit
            points(ax, label, x, paper, style.BLACK, marker=marker)


def _channels(ax: Axes, rows: pd.DataFrame, placement: str) -> None:
    """Draw every channel for the paper's circuit, trained without noise."""
    rows = only(rows[rows["group"].isin(["exact", "channels"])], model="quantum", protocol=CLEAN)
    colors = dict(zip(rows["channel"].unique(), COLORS, strict=False))
    here = rows[rows["placement"].isin([placement, MEASUREMENT])]
    for name, curve in here.groupby("channel", sort=False):
        _draw_curve(ax, curve, name.replace("-", " "), colors[name])


def _shots(ax: Axes, rows: pd.DataFrame, protocol: str) -> None:
    """Draw finite shots for the paper's circuit, noise after every gate; exact ones on top."""
    rows = only(rows, model="quantum", placement="gate", protocol=protocol)
    by_shots = only(rows, group="shots").groupby("shots")
    for (shots, curve), color in zip(by_shots, cycle(COLORS), strict=False):
        _draw_curve(ax, curve, f"{shots:,.0f} shots", color)
    exact = only(rows, group="exact")
    _draw_curve(ax, exact, "exact probabilities", style.BLACK, linestyle=":")


def _draw_curve(ax: Axes, curve: pd.DataFrame, label: str, color: str, **look: str) -> None:
    wide = curve.pivot(index="strength", columns="seed", values="accuracy")
    pictures.draw_means(ax, label, wide.index, [*wide.to_numpy()], color, **look)
