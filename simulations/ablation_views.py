"""The ablation's rows as tables, published numbers beside them, and pictures."""

from collections.abc import Callable
from functools import partial
from itertools import product
from math import inf, pi
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.figure import Figure

from qmoe_fed.config.settings import read_toml
from qmoe_fed.experiments.cells import Arrays
from qmoe_fed.experiments.datasets import MOONS, Dataset
from qmoe_fed.experiments.measures.gradients import MARGINAL, SINGLE, decay_per_qubit
from qmoe_fed.experiments.statistics import efficiency
from qmoe_fed.experiments.views import pictures, published
from qmoe_fed.experiments.views.tables import Table, make_tables, only
from qmoe_fed.results.figures import style

HERE = Path(__file__).parent
PUBLISHED = published.read_published(HERE / "published.toml", "ablation")
GRID = read_toml(HERE / "ablation.toml")
MODELS, SWEEPS, SIZES, SOLVED = (GRID[key] for key in ("models", "sweeps", "sizes", "solved"))
COLORS = {model: vars(style)[color] for model, color in GRID["colors"].items()}
MIDDLE = 10, 90  # percentiles between which the middle 80% of the seeds lie


def described(rows: pd.DataFrame, most_epochs: int) -> pd.DataFrame:
    """Return rows with what tables show beside what was measured; ``most_epochs``: of a fit."""
    size = rows["router_parameters"].fillna(0).map(lambda count: efficiency(1, int(count)))
    return rows.assign(
        eta=rows["accuracy"] * size,
        epochs_or_never=rows["epochs_to_90"].fillna(most_epochs + 1),
        angle=["π" if angle == pi else f"{angle:g}" for angle in rows["init_angle"]],
    )


def tables(rows: pd.DataFrame) -> list[Table]:
    """Return all tables of described rows."""

    def decay(frame: pd.DataFrame) -> str:
        return f"{decay_per_qubit(frame['qubits'], frame['variance']):.2f}"

    return [*make_tables(GRID["tables"], rows, decay=decay), _beside(rows)]


def _beside(rows: pd.DataFrame) -> Table:
    found: list[published.Line] = []
    tested = rows[rows["accuracy"].notna()]
    by_rate: list[published.Select] = [partial(only, rate=rate) for rate in (0.01, 0.1)]
    for name, number in PUBLISHED.items():
        if number.rows:
            found += published.lines(number, tested, [*by_rate, partial(only, chosen=True)])
        what, _, kind = name.partition("-")
        if what == "eta" and f"accuracy-{kind}" in PUBLISHED:
            eta = efficiency(*(PUBLISHED[f"{n}-{kind}"].value for n in ("accuracy", "parameters")))
            about = "by its formula from the paper's own numbers"
            texts, judged = [number.show(eta, run=False)], [number.judge(eta)]
            found.append(published.line(number, texts, judged, about))
        if name == "times-more":
            ratio = _times_more(rows)
            text = f"{ratio:.1f}" if ratio < inf else "none comes up to B"
            found.append(published.line(number, [text], [number.judge(ratio)]))
    cases = "rate 0.01 / 0.1 / chosen"
    return published.comparison("Published beside ours", found, cases, GRID["notes"]["published"])


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
        settings = {m["model"]: m["settings"] for m in MODELS if m["experts"] == experts}
        own = only(rows, part="models", experts=experts, chosen=True).groupby("model").first()
        curves = {name: arrays(own.loc[name, "cell"]) for name in settings}
        models = {name: pictures.fitted(settings[name], curves[name], data) for name in settings}
        titles = {f"{n}: {100 * own.loc[n, 'accuracy']:.1f}%": m for n, m in models.items()}
        found[f"decision-regions-{experts}"] = pictures.draw_decisions(titles, data)
        found[f"expert-regions-{experts}"] = pictures.draw_experts(models, data)
        found[f"training-curves-{experts}"] = _draw_training(curves)
    found["parameter-efficiency"] = _draw_sweeps(only(rows, part="sweep", chosen=True))
    found["gradient-variance"] = _draw_gradients(only(rows, part="gradients"))
    return found


def _draw_training(curves: dict[str, Arrays]) -> Figure:
    """Draw mean over seeds and the middle 80% of them; who has stopped counts with its last."""
    figure, axes = pictures.new_panels(4, 2, 4.6, sharey="row")
    names = {"train_loss": "training loss (nats)", "validation_accuracy": "validation accuracy"}
    for ax, (curve, rate) in zip(axes, product(names, ("0.01", "0.1")), strict=True):
        for label, arrays in curves.items():
            by_epoch = pd.DataFrame(arrays[f"{curve}/{rate}"].astype(np.float64)).ffill(axis=1)
            low, high = np.percentile(by_epoch, MIDDLE, 0)
            x, color = by_epoch.columns + 1, COLORS[label]
            ax.fill_between(x, low, high, color=color, alpha=0.1, linewidth=0)
            pictures.draw_line(ax, label, x, by_epoch.mean(), color)
        loss, y = curve == "train_loss", names[curve] if rate == "0.01" else ""
        style.dress(ax, f"learning rate {rate}" if loss else "", "" if loss else "epoch", y)
        if loss:
            ax.set_yscale("log")
        else:
            ax.set_ylim(0.75, 1.005)
    pictures.add_legend(figure, "outside right center", 1)
    return figure


def _draw_sweeps(rows: pd.DataFrame) -> Figure:
    tasks = [name for name in SWEEPS if name in set(rows["dataset"])]
    height = 0.4 + 2.3 * -(-len(tasks) // 2)
    figure, axes = pictures.new_panels(len(tasks), 2, height, sharex=False, sharey=False)
    for ax, task in zip(axes, tasks, strict=True):
        swept = only(rows, dataset=task)
        for family, look in GRID["families"].items():
            own = [frame for _, frame in only(swept, family=family).groupby("model", sort=False)]
            if own:
                x = [frame["router_parameters"].iloc[0] for frame in own]
                shares = [frame["accuracy"] for frame in own]
                about = {"linestyle": "none", **look, "color": vars(style)[look["color"]]}
                pictures.draw_means(ax, family, x, shares, **about)
        alone = only(swept, model="classifier")["accuracy"]
        pictures.draw_level(ax, "no router", alone, style.BLACK)
        style.dress(ax, SWEEPS[task]["title"], "router parameters", "test accuracy, %")
        ax.set_xscale("log")
    pictures.add_legend(figure)
    return figure


def _draw_gradients(rows: pd.DataFrame) -> Figure:
    depths = sorted(rows["layers"].unique())
    colors = colormaps["viridis"](np.linspace(0, 0.9, len(depths)))
    figure, axes = pictures.new_panels(2, 2, 2.6)
    read = {SINGLE: "P(all qubits 0)", MARGINAL: "P(first qubit 0)"}
    for ax, (readout, name) in zip(axes, read.items(), strict=True):
        for (depth, color), angle in product(zip(depths, colors, strict=True), (pi, 0.1)):
            own = only(rows, readout=readout, layers=depth, init_angle=angle)
            label = f"L = {depth:g}, angles ± {'π' if angle == pi else angle}"
            look = {"linestyle": "-" if angle == pi else ":", "marker": "o", "markersize": 2.5}
            pictures.draw_line(ax, label, own["qubits"], own["variance"], color, **look)
        y = "Var[∂P/∂θ₁₁]" if readout == SINGLE else ""
        style.dress(ax, f"read: {name}", "qubits", y)
        ax.set_yscale("log")
    pictures.add_legend(figure, "outside right center", 1)
    return figure
