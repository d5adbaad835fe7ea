"""The ablation's rows as tables, published numbers beside them, and pictures."""

import tomllib
from collections.abc import Callable, Sequence
from functools import cached_property, partial
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
from qmoe_fed.experiments.views.tables import (
    NONE,
    Show,
    Table,
    difference,
    epochs,
    first,
    mean,
    only,
    over_seeds,
    paired,
    table,
)
from qmoe_fed.results.figures import style

HERE = Path(__file__).parent
PUBLISHED = read_published(HERE / "published.toml", "ablation")
GRID = tomllib.loads((HERE / "ablation.toml").read_text())
MODELS, SWEEPS = GRID["models"], GRID["sweeps"]
EXPERTS = sorted({entry["experts"] for entry in MODELS})
B, ON_IMAGES = "B: quantum", "quantum n8 L4"
CONTROLS = {  # by what stands for them on images
    "B without CZ": "without CZ n8 L4",
    "trigonometric": "trig",
    "A: linear": "linear",
    "C: deep": "",
    "B, re-uploading": "",
}
COLORS = {
    "A: linear": style.GREY,
    B: style.BLUE,
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
RATES: dict[str, Callable[[pd.DataFrame], pd.DataFrame]] = {
    "rate 0.01": lambda frame: only(frame, rate=0.01),
    "rate 0.1": lambda frame: only(frame, rate=0.1),
    "rate chosen": lambda frame: only(frame, chosen=True),
}


class Ablation:
    """What was measured, with η of every fit; ``most_epochs``: of a fit."""

    def __init__(self, rows: pd.DataFrame, most_epochs: int) -> None:
        never = rows["epochs_to_90"].fillna(most_epochs + 1)
        size = rows["router_parameters"].fillna(0).map(lambda count: efficiency(1, int(count)))
        self.rows = rows.assign(epochs_or_never=never, eta=rows["accuracy"] * size)
        # no family, whether rows are on images or not, is at a rate that was not chosen
        self.sweeps = only(self.rows, part="sweep", chosen=True)

    def models(self, experts: int, rate: str = "") -> pd.DataFrame:
        """Return the models on Two Moons with a number of experts, at one or at all rates."""
        rows = only(self.rows, part="models", experts=experts)
        return RATES[rate](rows) if rate else rows

    @cached_property
    def datasets(self) -> list[str]:
        """Those that were swept, Two Moons first."""
        found = set(self.sweeps["dataset"])
        return [dataset for dataset in SWEEPS if dataset in found]


def tables(study: Ablation) -> tuple[list[Table], list[Table]]:
    """Return what is shown, and what is written only."""
    shown = [
        show(study, experts)
        for experts in EXPERTS
        for show in (_overview, partial(_details, rate="rate chosen"))
    ]
    shown += [_beside(study), *(_sweep(study, dataset) for dataset in study.datasets)]
    shown += [_gradients(study), _ways(study), _controls(study)]
    others = [_details(study, n, rate) for rate in ("rate 0.01", "rate 0.1") for n in EXPERTS]
    return shown, others


def _overview(study: Ablation, experts: int) -> Table:
    by_rate: dict[str, Show] = {
        name: lambda frame, select=select: over_seeds()(select(frame))  # type: ignore[misc]
        for name, select in RATES.items()
    }
    return table(
        f"Two Moons, {experts} linear experts: test accuracy, %",
        study.models(experts),
        {"model": "model"},
        {"router": first("router_parameters"), "all": first("parameters"), **by_rate}
        | {"it is": lambda frame: first("rate")(only(frame, chosen=True))},
        "Mean over seeds ± half its 95% confidence interval (Student's t). router, all: numbers of "
        "parameters. rate chosen: the learning rate with the lowest mean validation loss.",
    )


def _details(study: Ablation, experts: int, rate: str) -> Table:
    rows = study.models(experts, rate)
    return table(
        f"Two Moons, {experts} linear experts, {rate}",
        rows,
        {"model": "model"},
        {
            "rate": first("rate"),
            "accuracy, %": over_seeds(),
            "macro F1, %": over_seeds("f1"),
            "η": mean("eta", ".3f"),
            "minus B": _minus(rows, B),
            "to 90%": over_seeds("epochs_to_90", epochs),
            "seconds": first("seconds", ".1f"),
        },
        "minus B: paired difference of accuracy to Model B, in points. to 90%: median epoch with "
        "that validation accuracy, and how many seeds have one if not all. seconds: for all seeds "
        "and all learning rates together.",
    )


def _minus(rows: pd.DataFrame, model: str, *same: str) -> Show:
    """Return what shows a paired difference to a model, in rows that agree in some columns."""

    def show(frame: pd.DataFrame) -> str:
        if frame["model"].iloc[0] == model:
            return NONE
        about = {name: frame[name].iloc[0] for name in same}
        return difference(paired(frame, only(rows, model=model, **about)))

    return show


def _sweep(study: Ablation, dataset: str) -> Table:
    rows = only(study.sweeps, dataset=dataset)
    return table(
        f"Parameter efficiency: {SWEEPS[dataset]['title']}",
        rows.sort_values("router_parameters", kind="stable"),
        {"router": "model"},
        {
            "parameters": first("router_parameters"),
            "rate": first("rate"),
            "accuracy, %": over_seeds(),
            "η": mean("eta", ".3f"),
            "minus classifier": _minus(rows, "classifier"),
            "seconds": first("seconds", ".1f"),
        },
        f"Learning rate chosen on validation samples; {rows['seed'].nunique()} seeds. classifier: "
        "one linear map without any router; minus classifier: paired difference, in points.",
    )


def _gradients(study: Ablation) -> Table:
    rows = only(study.rows, part="gradients")
    by_qubits: dict[str, Show] = {
        f"n = {n:g}": lambda frame, n=n: mean("variance", ".0e")(only(frame, qubits=n))  # type: ignore[misc]
        for n in rows["qubits"].unique()
    }
    return table(
        "Variance of the gradient of the first angle",
        rows.assign(angle=[_angle(angle) for angle in rows["init_angle"]]),
        {"read": "readout", "angles ±": "angle", "layers": "layers"},
        by_qubits | {"per qubit": lambda f: f"{decay_per_qubit(f['qubits'], f['variance']):.2f}"},
        "Over random inputs and parameters. per qubit: the factor b of the best fit bⁿ; well below "
        "1 is a barren plateau.",
    )


def _angle(angle: float) -> str:
    return "π" if angle == pi else f"{angle:g}"


def _ways(study: Ablation) -> Table:
    rows = only(study.rows, part="ways")
    return table(
        "Ways to train the paper's circuit on Two Moons, 2 experts",
        rows,
        {"training": "model", "qubits": "qubits", "layers": "layers", "rate": "rate"},
        {
            "accuracy, %": over_seeds(),
            "change": _minus(rows, rows["model"].iloc[0], "qubits", "layers", "rate"),
            "to 90%": over_seeds("epochs_to_90", epochs),
        },
        "change: paired difference to the first way, in points.",
    )


def _controls(study: Ablation) -> Table:
    cells = []
    for label, on_images in CONTROLS.items():
        for experts in EXPERTS:
            gaps = (
                difference(paired(only(frame, model=B), only(frame, model=label)))
                for frame in (study.models(experts, rate) for rate in RATES)
            )
            cells.append((label, f"Two Moons, {experts} experts", *gaps))
        for dataset in study.datasets:
            own, rows = only(study.sweeps, dataset=dataset, model=on_images), study.sweeps
            if len(own) and dataset != MOONS:
                gap = difference(paired(only(rows, dataset=dataset, model=ON_IMAGES), own))
                cells.append((label, SWEEPS[dataset]["title"], NONE, NONE, gap))
    note = "Paired over seeds. On images B is the paper's circuit with 8 qubits and 4 layers."
    return Table("Model B minus its controls, points", ("control", "", *RATES), cells, note, 2)


def _beside(study: Ablation) -> Table:
    found: list[Line] = []
    tested = study.rows[study.rows["accuracy"].notna()]
    for name, number in PUBLISHED.items():
        if number.rows:
            found += lines(number, tested, [*RATES.values()])
        if name.startswith("eta-") and f"accuracy-{name[4:]}" in PUBLISHED:
            kind = name.removeprefix("eta-")
            printed = (PUBLISHED[f"{what}-{kind}"].value for what in ("accuracy", "parameters"))
            eta = efficiency(*printed)
            texts = [number.show(eta, False)], [number.judge(eta)]
            found.append(Line(number, *texts, "by its formula from the paper's own numbers"))
        if name == "times-more":
            ratio = _times_more(study)
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


def _times_more(study: Ablation) -> float:
    """Return the smallest MLP as accurate as B, in B's numbers of parameters; infinite: none."""
    on_moons = only(study.sweeps, dataset=MOONS)
    b = only(on_moons, model="quantum n2 L3")
    sizes = only(on_moons, family="MLP").groupby("router_parameters")["accuracy"].mean()
    enough = sizes.index[sizes >= b["accuracy"].mean()]
    return float(min(enough, default=inf) / b["router_parameters"].iloc[0])


def draw(study: Ablation, data: Dataset, arrays: Callable[[str], Arrays]) -> dict[str, Figure]:
    """Return all pictures by name; ``arrays``: of a cell, by its key."""
    found = {}
    for experts in EXPERTS:
        rows = study.models(experts, "rate chosen").groupby("model").first()
        own = {m["model"]: m["settings"] for m in MODELS if m["experts"] == experts}
        models = {
            label: fitted(settings, arrays(rows.loc[label, "cell"]), data)
            for label, settings in own.items()
        }
        titles = {n: f"{n}: {100 * rows.loc[n, 'accuracy']:.1f}%" for n in models}
        decisions = {titles[label]: model for label, model in models.items()}
        found[f"decision-regions-{experts}"] = draw_decisions(decisions, data)
        found[f"expert-regions-{experts}"] = draw_experts(models, data)
        curves = {label: arrays(rows.loc[label, "cell"]) for label in models}
        found[f"training-curves-{experts}"] = _draw_training(curves)
    found["parameter-efficiency"] = _draw_sweeps(study)
    found["gradient-variance"] = _draw_gradients(only(study.rows, part="gradients"))
    return found


def _draw_training(curves: dict[str, Arrays]) -> Figure:
    """Draw mean over seeds and the middle 80% of them; who has stopped counts with its last."""

    def panel(curve: str, rate: str, finish: Callable[[Axes], object], *texts: str) -> Panel:
        series = []
        for label, arrays in curves.items():
            values = _hold(arrays[f"{curve}/{rate}"].astype(np.float64))
            low, high = np.percentile(values, MIDDLE, 0)
            x, y = np.arange(1, values.shape[1] + 1), values.mean(0)
            series.append(Series(label, x, y, COLORS[label], low, high))
        return Panel(series, *texts, finish=finish)

    scale, zoom = partial(Axes.set_yscale, value="log"), partial(Axes.set_ylim, bottom=0.75)
    loss, accuracy = "training loss (nats)", "validation accuracy"
    titles = {rate: f"learning rate {rate}" for rate in ("0.01", "0.1")}
    y: Sequence[str]
    y = [loss, ""]
    upper = [panel("train_loss", r, scale, titles[r], "", y.pop(0)) for r in titles]
    y = [accuracy, ""]
    lower = [panel("validation_accuracy", r, zoom, "", "epoch", y.pop(0)) for r in titles]
    return draw_panels([upper, lower], 4.6, "right center", 1, (True, "row"))


def _hold(curves: Array) -> Array:
    """Replace what follows the last value of each row ``(K, E)`` by that value."""
    last = (~np.isnan(curves)).sum(1) - 1
    place = np.minimum(np.arange(curves.shape[1]), last[:, None])
    held: Array = np.take_along_axis(curves, place, 1)
    return held


def _draw_sweeps(study: Ablation) -> Figure:
    panels = []
    for dataset in study.datasets:
        rows = only(study.sweeps, dataset=dataset)
        parts: list[Series | Level] = []
        for family, (color, marker, filling) in FAMILIES.items():
            own = [frame for _, frame in only(rows, family=family).groupby("model", sort=False)]
            if own:
                x = [frame["router_parameters"].iloc[0] for frame in own]
                line = Series.of(family, x, [frame["accuracy"] for frame in own], color)
                parts.append(line.as_points(marker, filling))
        parts.append(Level("no router", only(rows, model="classifier")["accuracy"], style.BLACK))
        finish = partial(Axes.set_xscale, value="log")
        texts = SWEEPS[dataset]["title"], "router parameters", "test accuracy, %"
        panels.append(Panel(parts, *texts, finish=finish))
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
                label = f"L = {depth:g}, angles ± {_angle(angle)}"
                x, y = own["qubits"], own["variance"]
                series.append(Series(label, x, y, color, style=look, marker="o", size=2.5))
        texts = f"read: {name}", "qubits", "" if panels else "Var[∂P/∂θ₁₁]"
        panels.append(Panel(series, *texts, finish=partial(Axes.set_yscale, value="log")))
    return draw_panels([panels], 2.6, "right center", 1)
