"""The ablation's rows as pictures."""

from functools import partial
from math import pi

import numpy as np
from ablation_tables import A, Ablation, B, C, chosen
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from qmoe_fed.experiments.datasets import IMAGES, MOONS
from qmoe_fed.experiments.measures.gradients import MARGINAL, SINGLE
from qmoe_fed.experiments.statistics import Array, mean_interval
from qmoe_fed.experiments.views.lines import Level, Panel, Series, draw_panels, in_rows
from qmoe_fed.experiments.views.regions import Fitted, draw_decisions, draw_experts
from qmoe_fed.experiments.views.tables import only
from qmoe_fed.results.figures import style

COLORS = {
    A: style.GREY,
    B: style.BLUE,
    C: style.ORANGE,
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


READ = {SINGLE: "P(all qubits 0)", MARGINAL: "P(first qubit 0)"}
MIDDLE = 10, 90  # percentiles between which the middle 80% of the seeds lie


def draw(study: Ablation) -> dict[str, Figure]:
    """Return all pictures by name."""
    found = {}
    for experts in study.models:
        models = _fitted(study, experts)
        found[f"decision-regions-{experts}"] = draw_decisions(models, study.data)
        found[f"expert-regions-{experts}"] = draw_experts(models, study.data)
        found[f"training-curves-{experts}"] = _training(study, experts)
    found["parameter-efficiency"] = _efficiency(study)
    found["gradient-variance"] = _gradients(study)
    return found


def _fitted(study: Ablation, experts: int) -> list[Fitted]:
    """Return the models of the first seed at the rate that validation chose."""
    found = []
    for label, settings in study.models[experts].items():
        row = chosen(study.of(experts, label)).iloc[0]
        found.append(Fitted(label, settings, study.arrays(row["cell"]), row["accuracy"]))
    return found


def _training(study: Ablation, experts: int) -> Figure:
    """Draw mean over seeds and the middle 80% of them, for both published learning rates.

    A seed that has stopped counts with its last value.
    """
    curves = {"train_loss": "training loss (nats)", "validation_accuracy": "validation accuracy"}
    rows = []
    for curve, name in curves.items():
        panels = []
        for rate in (0.01, 0.1):
            series = []
            for label in study.models[experts]:
                cell = study.of(experts, label)["cell"].iloc[0]
                values = _hold(study.arrays(cell)[f"{curve}/{rate:g}"].astype(np.float64))
                low, high = np.percentile(values, MIDDLE, 0)
                x, mean = np.arange(1, values.shape[1] + 1), values.mean(0)
                series.append(Series(label, x, mean, COLORS[label], low, high, opacity=0.1))
            loss, y = curve == "train_loss", name if rate == 0.01 else ""
            title, x_label = (f"learning rate {rate:g}", "") if loss else ("", "epoch")
            finish = _log if loss else partial(Axes.set_ylim, bottom=0.75, top=1.005)
            panels.append(Panel(series, title, x_label, y, finish))
        rows.append(panels)
    return draw_panels(rows, 4.6, "right center", 1, (True, "row"))


def _efficiency(study: Ablation) -> Figure:
    """Draw one panel per dataset: mean over seeds and its 95% confidence interval."""
    panels = []
    for dataset in study.rivals:
        rows = study.swept(dataset)
        parts: list[Series | Level] = []
        for family, (color, marker, filling) in FAMILIES.items():
            own = [frame for _, frame in only(rows, family=family).groupby("model", sort=False)]
            x = [frame["router_parameters"].iloc[0] for frame in own]
            found = [mean_interval(100 * frame["accuracy"]) for frame in own]
            y, low, high = ([getattr(i, end) for i in found] for end in ("mean", "low", "high"))
            look = {"style": "none", "marker": marker, "filling": filling}
            parts.append(Series(family, x, y, color, low, high, **look))
        alone = 100 * study.swept(dataset, "classifier")["accuracy"].mean()
        parts.append(Level("no router", alone, "0.3", width=style.THIN))
        title = "Two Moons" if dataset == MOONS else IMAGES[dataset].title
        finish = partial(Axes.set_xscale, value="log")
        panels.append(Panel(parts, title, "router parameters", "test accuracy, %", finish))
    rows_of_two = in_rows(panels, 2)
    return draw_panels(rows_of_two, 0.4 + 2.3 * len(rows_of_two), share=(False, False))


def _gradients(study: Ablation) -> Figure:
    """Draw one panel per readout, one line per number of layers and range of angles."""
    rows = only(study.rows, part="gradients")
    depths = sorted(rows["layers"].unique())
    panels = []
    for readout, name in READ.items():
        series = []
        for (depth, angle), line in sorted(
            only(rows, readout=readout).groupby(["layers", "angle"]),
            key=lambda item: (item[0][0], -item[0][1]),
        ):
            color = colormaps["viridis"](0.9 * depths.index(depth) / max(1, len(depths) - 1))
            angles = "π" if angle == pi else f"{angle:g}"
            label, look = f"L = {depth:g}, angles ± {angles}", "-" if angle == pi else ":"
            x, y = line["qubits"], line["variance"]
            series.append(Series(label, x, y, color, style=look, marker="o", size=2.5))
        y_label = "" if panels else "Var[∂P/∂θ₁₁]"
        panels.append(Panel(series, f"read: {name}", "qubits", y_label, _log))
    return draw_panels([panels], 2.6, "right center", 1)


def _log(ax: Axes) -> None:
    ax.set_yscale("log")


def _hold(curves: Array) -> Array:
    """Replace what follows the last value of each row ``(K, E)`` by that value."""
    last = (~np.isnan(curves)).sum(1) - 1
    place = np.minimum(np.arange(curves.shape[1]), last[:, None])
    held: Array = np.take_along_axis(curves, place, 1)
    return held
