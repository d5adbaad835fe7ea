"""Pictures of all clients: how they learn, what they hold, which experts they use."""

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullLocator
from numpy.typing import NDArray
from scipy.special import stdtrit

from qmoe_fed.data import Samples
from qmoe_fed.results.figures import style
from qmoe_fed.results.load import Run
from qmoe_fed.results.summary import unseen_labels

MOST_BARS, MOST_GAPS, MOST_NAMES = 1000, 150, 32
LOW, HIGH = 1, 9  # the first and the last decile
LOOKS = {"shared": (style.BLUE, "o"), "scratch": (style.ORANGE, "s"), "random": (style.GREY, "^")}


def learning_curves(run: Run) -> Figure:
    """Draw the mean over clients, the middle 80% of them, and the mean of the worst 10%."""
    scored = [record for record in run.records if "accuracy" in record]
    number = [record["round"] for record in scored]
    figure = style.new_figure(style.PAGE, 2.4)
    panels = figure.subplots(1, 2)
    for ax, metric in zip(panels, ("accuracy", "loss"), strict=True):
        mean, worst, deciles = (
            np.array([record[metric][key] for record in scored], float)
            for key in ("mean", "worst10", "deciles")
        )
        low, high, blue, red = deciles[:, LOW], deciles[:, HIGH], style.BLUE, style.VERMILLION
        ax.fill_between(number, low, high, color=blue, label="middle 80% of clients", **style.BAND)
        ax.plot(number, mean, color=blue, lw=style.LINE, label="mean over clients")
        ax.plot(number, worst, "--", color=red, lw=style.LINE, label="mean of the worst 10%")
        ax.set_xlim(number[0], number[-1])
        _against_rounds(ax)
    style.dress(panels[0], x="round", y="test accuracy")
    style.dress(panels[1], x="round", y="test loss (cross-entropy, nats)")
    panels[1].set_ylim(bottom=0)
    handles, _ = panels[0].get_legend_handles_labels()
    style.add_legend(figure, handles=handles, loc="outside upper center", ncols=3)
    return figure


def compare_curves(runs: Mapping[str, Run]) -> Figure:
    """Draw the means over the clients of several runs, by name, against the rounds."""
    figure = style.new_figure(style.PAGE, 2.4)
    panels = figure.subplots(1, 2)
    colors = style.class_colors(len(runs))
    for (name, run), color in zip(runs.items(), colors, strict=True):
        scored = [record for record in run.records if "accuracy" in record]
        for ax, metric in zip(panels, ("accuracy", "loss"), strict=True):
            number = [record["round"] for record in scored]
            mean = np.array([record[metric]["mean"] for record in scored], float)
            ax.plot(number, mean, color=color, lw=style.LINE, label=name)
    for ax in panels:
        _against_rounds(ax)
    style.dress(panels[0], x="round", y="test accuracy, mean over clients")
    style.dress(panels[1], x="round", y="test loss, mean over clients")
    handles, _ = panels[0].get_legend_handles_labels()
    style.add_legend(figure, handles=handles, loc="outside upper center", ncols=min(len(runs), 3))
    return figure


def privacy_spent(run: Run) -> Figure:
    """Draw the ε that the mechanisms of a run state after each round, and its budget if any."""
    figure, spent = style.new_figure(style.COLUMN, 2.4), [r for r in run.records if "train" in r]
    ax, privacy = figure.subplots(), run.config.privacy
    epsilon = [record["train"].get("epsilon", np.nan) for record in spent]
    ax.plot([record["round"] for record in spent], epsilon, color=style.BLUE, lw=style.LINE)
    if privacy.max_epsilon:
        ax.axhline(privacy.max_epsilon, color=style.GREY, lw=style.LINE, ls=":")
    ax.set_ylim(bottom=0)
    _against_rounds(ax)
    dotted = ", dots: max-epsilon" if privacy.max_epsilon else ""
    style.dress(ax, x="round", y=f"ε spent at δ = {privacy.delta:g}{dotted}")
    return figure


def label_distribution(run: Run) -> Figure:
    """Draw one stacked bar per client; of very many clients, evenly spaced ones."""
    total, labels = run.config.federation.num_clients, run.config.data.labels
    counts = count_labels(run.data(evenly_spaced(total, MOST_BARS)).train, len(labels))
    counts = counts[skew_order(counts)]
    edges = np.arange(len(counts) + 1)
    tops = counts.cumsum(1)

    figure = style.new_figure(style.PAGE, 2.2)
    ax = figure.subplots()
    for c, color in enumerate(style.class_colors(len(labels))):
        bottom = tops[:, c] - counts[:, c]
        ax.stairs(tops[:, c], edges, baseline=bottom, fill=True, color=color, label=labels[c])
    if len(counts) <= MOST_GAPS:
        ax.vlines(edges[1:-1], 0, tops[:, -1].max(), color="white", linewidth=0.5)
    ax.margins(0)
    ax.set_xticks([])
    shown = f"{len(counts):,} of {total:,}" if len(counts) < total else f"{total:,}"
    style.dress(ax, x=f"{shown} clients, sorted by their main class", y="training samples")
    style.add_legend(ax, title="class", loc="upper left", bbox_to_anchor=(1, 1), reverse=True)
    return figure


def expert_load(run: Run) -> Figure:
    """Draw each client's mean routing weights as a heat map, and their means as bars."""
    count = run.config.model.num_experts
    load = np.stack([run.clients[f"load-{i}"] for i in range(count)], 1)
    load = load[serpentine(load)]
    figure = style.new_figure(style.PAGE, 0.8 + min(0.28 * max(count, 3), 5.0))
    heat, bars, scale = figure.subplots(1, 3, width_ratios=[30, 5, 0.7])

    image = heat.imshow(load.T, cmap="viridis", vmin=0, aspect="auto", interpolation="nearest")
    style.dress(heat, x=f"{len(load):,} clients, sorted by their main expert", y="expert")
    if count <= MOST_NAMES:
        heat.set_yticks(range(count))
    heat.set_xticks([])
    heat.tick_params(length=0)
    heat.spines[:].set_visible(False)

    bars.barh(range(count), load.mean(0), height=0.7, color=style.expert_colors(count))
    bars.axvline(1 / count, color=style.GREY, linewidth=0.8, linestyle=":")
    style.dress(bars, x=f"mean; dots: 1/{count}")
    bars.set_ylim(heat.get_ylim())
    bars.tick_params(axis="y", length=0, labelleft=False)
    style.add_colorbar(figure, image, "routing weight", cax=scale)
    return figure


def unseen_clients(run: Run) -> Figure:
    """Draw mean accuracy against labelled samples, with its 95% confidence interval (Student's t).

    One client alone has no interval.
    """
    sizes, count = run.config.unseen.sample_sizes, len(run.unseen["client"])
    figure = style.new_figure(style.COLUMN, 2.6)
    ax = figure.subplots()
    for kind, label in unseen_labels(run.config.federation.share).items():
        color, marker = LOOKS[kind]
        accuracy = np.stack([run.unseen[f"{kind}-{size}"] for size in sizes])
        mean = accuracy.mean(1)
        if count > 1:
            half = stdtrit(count - 1, 0.975) * accuracy.std(1, ddof=1) / np.sqrt(count)
            ax.fill_between(sizes, mean - half, mean + half, color=color, **style.BAND)
        ax.plot(sizes, mean, color=color, marker=marker, ms=4, lw=style.LINE, label=label)
    ax.set_xscale("log" if sizes[0] else "symlog", base=2)
    ax.set_xticks(sizes, [f"{size:,}" for size in sizes])
    ax.xaxis.set_minor_locator(NullLocator())
    ax.set_ylim(top=min(ax.get_ylim()[1], 1.01))
    style.draw_grid(ax)
    given = "labelled samples per unseen client"
    style.dress(ax, x=given, y=f"mean test accuracy ({count:,} clients)")
    style.add_legend(ax, title="mean, 95% confidence", loc="lower right", alignment="left")
    return figure


def count_labels(samples: Samples, classes: int) -> NDArray[np.int64]:
    """Return each client's number of samples of each class, shape ``(K, classes)``."""
    own = samples.y.numpy()[..., None] == np.arange(classes)
    return (own & samples.mask.numpy()[..., None]).sum(1)


def skew_order(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the order of clients by the share of their main class."""
    return serpentine(counts / counts.sum(1, keepdims=True))


def serpentine(shares: NDArray[np.floating]) -> NDArray[np.int64]:
    """Return the order of rows ``(K, n)`` that puts like beside like.

    Rows are grouped by their largest column; the largest share falls within the first group,
    rises within the next, and so on. For two columns this is the order by the first.
    """
    group = shares.argmax(1)
    within = np.where(group % 2 == 0, -1, 1) * shares.max(1)
    order: NDArray[np.int64] = np.lexsort((within, group))
    return order


def evenly_spaced(total: int, most: int) -> NDArray[np.int64]:
    """Return at most ``most`` of the numbers 0 … total - 1, evenly spaced, ends included."""
    return np.linspace(0, total - 1, min(total, most)).round().astype(np.int64)


def _against_rounds(ax: Axes) -> None:
    ax.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
    style.draw_grid(ax)
