"""The ablation's rows as tables, published numbers beside them, and pictures."""

import tomllib
from collections.abc import Callable
from functools import partial
from math import inf, pi
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from qmoe_fed.experiments.cells import Arrays
from qmoe_fed.experiments.datasets import MOONS, Dataset
from qmoe_fed.experiments.measures.gradients import MARGINAL, SINGLE, decay_per_qubit
from qmoe_fed.experiments.statistics import Array, efficiency
from qmoe_fed.experiments.views.lines import Level, Panel, Series, draw_panels
from qmoe_fed.experiments.views.published import Line, comparison, lines, read_published
from qmoe_fed.experiments.views.regions import draw_decisions, draw_experts, fitted
from qmoe_fed.experiments.views.tables import Table, make_tables, only
from qmoe_fed.results.figures import style

HERE = Path(__file__).parent
PUBLISHED = read_published(HERE / "published.toml", "ablation")
GRID = tomllib.loads((HERE / "ablation.toml").read_text())
MODELS, SWEEPS, SIZES = GRID["models"], GRID["sweeps"], GRID["sizes"]
COLORS = {
    "A: linear": style.GREY,
    "B: quantum": style.BLUE,
    "C: deep": style.ORANGE,
    "C, 16 wide": style.BROWN,
    "B without CZ": style.GREEN,
    "trigonometric": style.PURPLE,
    "B, re-uploading": style.VERMILLION,
    "B, notebooks": style.SKY,
    "linear classifier": style.BLACK,
}
FAMILIES = {  # colour, marker, its filling
    "quantum": (style.BLUE, "o", style.BLUE),
    "re-uploading": (style.VERMILLION, "D", style.VERMILLION),
    "without CZ": (style.GREEN, "s", "none"),  # often where the circuit with CZ is
    "notebooks": (style.SKY, "P", style.SKY),
    "MLP": (style.ORANGE, "^", style.ORANGE),
    "linear": (style.GREY, "v", style.GREY),
    "trigonometric": (style.PURPLE, "X", style.PURPLE),
}
MIDDLE = 10, 90  # percentiles between which the middle 80% of the seeds lie
CASES: list[Callable[[pd.DataFrame], pd.DataFrame]] = [
    partial(only, rate=0.01),
    partial(only, rate=0.1),
    partial(only, chosen=True),
]


def described(rows: pd.DataFrame, most_epochs: int) -> pd.DataFrame:
    """Return rows with what tables show beside what was measured; ``most_epochs``: of a fit."""
    size = rows["router_parameters"].fillna(0).map(lambda count: efficiency(1, int(count)))
    return rows.assign(
        eta=rows["accuracy"] * size,
        epochs_or_never=rows["epochs_to_90"].fillna(most_epochs + 1),
        angle=["π" if angle == pi else f"{angle:g}" for angle in rows["init_angle"]],
    )


def tables(rows: pd.DataFrame) -> list[Table]:
    """Return all tables."""

    def decay(frame: pd.DataFrame) -> str:
        return f"{decay_per_qubit(frame['qubits'], frame['variance']):.2f}"

    return [*make_tables(GRID["tables"], rows, decay=decay), _beside(rows)]


def _beside(rows: pd.DataFrame) -> Table:
    found: list[Line] = []
    tested = rows[rows["accuracy"].notna()]
    for name, number in PUBLISHED.items():
        if number.rows:
            found += lines(number, tested, CASES)
        if name.startswith("eta-") and f"accuracy-{name[4:]}" in PUBLISHED:
            kind = name.removeprefix("eta-")
            printed = (PUBLISHED[f"{what}-{kind}"].value for what in ("accuracy", "parameters"))
            eta = efficiency(*printed)
            texts = [number.show(eta, False)], [number.judge(eta)]
            found.append(Line(number, *texts, "by its formula from the paper's own numbers"))
        if name == "times-more":
            ratio = _times_more(rows)
            text = f"{ratio:.1f}" if ratio < inf else "none comes up to B"
            found.append(Line(number, [text], [number.judge(ratio)]))
    return comparison(
        "Published beside ours",
        found,
        "rate 0.01 / 0.1 / chosen",
        "Ours: mean over seeds ± half its 95% confidence interval. A number agrees if it lies, as "
        "rounded, where one more run of ours would fall with 95% probability; a difference is none "
        "if the interval of its mean holds zero. Published accuracies of notebooks are those on "
        "training samples.",
    )


def _times_more(rows: pd.DataFrame) -> float:
    """Return the smallest MLP as accurate as B, in B's numbers of parameters; infinite: none."""
    on_moons = only(rows, part="sweep", dataset=MOONS, chosen=True)
    b = only(on_moons, model="quantum n2 L3")
    sizes = only(on_moons, family="MLP").groupby("router_parameters")["accuracy"].mean()
    enough = sizes.index[sizes >= b["accuracy"].mean()]
    return float(min(enough, default=inf) / b["router_parameters"].iloc[0])


def draw(rows: pd.DataFrame, data: Dataset, arrays: Callable[[str], Arrays]) -> dict[str, Figure]:
    """Return all pictures by name; ``arrays``: of a cell, by its key."""
    found = {}
    for experts in sorted({entry["experts"] for entry in MODELS}):
        own = only(rows, part="models", experts=experts, chosen=True).groupby("model").first()
        curves = {label: arrays(key) for label, key in own["cell"].items()}
        models = {
            entry["model"]: fitted(entry["settings"], curves[entry["model"]], data)
            for entry in MODELS
            if entry["experts"] == experts
        }
        titles = {f"{n}: {100 * own.loc[n, 'accuracy']:.1f}%": m for n, m in models.items()}
        found[f"decision-regions-{experts}"] = draw_decisions(titles, data)
        found[f"expert-regions-{experts}"] = draw_experts(models, data)
        found[f"training-curves-{experts}"] = _draw_training({n: curves[n] for n in models})
    found["parameter-efficiency"] = _draw_sweeps(only(rows, part="sweep", chosen=True))
    found["gradient-variance"] = _draw_gradients(only(rows, part="gradients"))
    return found


def _draw_training(curves: dict[str, Arrays]) -> Figure:
    """Draw mean over seeds and the middle 80% of them; who has stopped counts with its last."""

    def panel(curve: str, rate: str, finish: Callable[[Axes], object], *texts: str) -> Panel:
        series = []
        for label, arrays in curves.items():
            values = _hold(arrays[f"{curve}/{rate}"].astype(np.float64))
            low, high = np.percentile(values, MIDDLE, 0)
            x, y = np.arange(1, values.shape[1] + 1), values.mean(0)
            series.append(Series(label, x, y, COLORS[label], low, high, opacity=0.1))
        return Panel(series, *texts, finish=finish)

    scale, zoom = (
        partial(Axes.set_yscale, value="log"),
        partial(Axes.set_ylim, bottom=0.75, top=1.005),
    )
    rows = [
        [
            panel("train_loss", rate, scale, f"learning rate {rate}", "", loss),
            panel("validation_accuracy", rate, zoom, "", "epoch", accuracy),
        ]
        for rate, loss, accuracy in (
            ("0.01", "training loss (nats)", "validation accuracy"),
            ("0.1", "", ""),
        )
    ]
    return draw_panels([*zip(*rows, strict=True)], 4.6, "outside right center", 1, (True, "row"))


def _hold(curves: Array) -> Array:
    """Replace what follows the last value of each row ``(K, E)`` by that value."""
    last = (~np.isnan(curves)).sum(1) - 1
    place = np.minimum(np.arange(curves.shape[1]), last[:, None])
    held: Array = np.take_along_axis(curves, place, 1)
    return held


def _draw_sweeps(rows: pd.DataFrame) -> Figure:
    panels = []
    for dataset, task in SWEEPS.items():
        swept = only(rows, dataset=dataset)
        parts: list[Series | Level] = []
        for family, (color, marker, filling) in FAMILIES.items():
            own = [frame for _, frame in only(swept, family=family).groupby("model", sort=False)]
            if own:
                x = [frame["router_parameters"].iloc[0] for frame in own]
                line = Series.of(family, x, [frame["accuracy"] for frame in own], color)
                parts.append(line.as_points(marker, filling))
        if parts:
            alone = only(swept, model="classifier")["accuracy"]
            finish = partial(Axes.set_xscale, value="log")
            texts = task["title"], "router parameters", "test accuracy, %"
            every = [*parts, Level("no router", alone, style.BLACK)]
            panels.append(Panel(every, *texts, finish=finish))
    in_rows = [panels[i : i + 2] for i in range(0, len(panels), 2)]
    return draw_panels(in_rows, 0.4 + 2.3 * len(in_rows), share=(False, False))


def _draw_gradients(rows: pd.DataFrame) -> Figure:
    depths = sorted(rows["layers"].unique())
    colors = colormaps["viridis"](np.linspace(0, 0.9, len(depths)))
    panels = []
    for readout, name in ((SINGLE, "P(all qubits 0)"), (MARGINAL, "P(first qubit 0)")):
        series = []
        for depth, color in zip(depths, colors, strict=True):
            for angle, look in ((pi, "-"), (0.1, ":")):
                own = only(rows, readout=readout, layers=depth, init_angle=angle)
                label = f"L = {depth:g}, angles ± {'π' if angle == pi else angle}"
                x, y = own["qubits"], own["variance"]
                series.append(Series(label, x, y, color, style=look, marker="o", size=2.5))
        texts = f"read: {name}", "qubits", "" if panels else "Var[∂P/∂θ₁₁]"
        panels.append(Panel(series, *texts, finish=partial(Axes.set_yscale, value="log")))
    return draw_panels([panels], 2.6, "outside right center", 1)
