"""What the clients hold: training samples of each class."""

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from qmoe_fed.data import Samples
from qmoe_fed.results.figures.order import evenly_spaced, serpentine
from qmoe_fed.results.figures.style import PAGE, SMALL, class_colors, dress, new_figure
from qmoe_fed.results.load import Run

MOST_CLIENTS = 1000
MOST_GAPS = 150


def draw(run: Run) -> Figure:
    """Draw one stacked bar per client; of very many clients, evenly spaced ones."""
    total = run.config.federation.num_clients
    labels = run.config.data.labels
    counts = count_labels(run.data(evenly_spaced(total, MOST_CLIENTS)).train, len(labels))
    counts = counts[skew_order(counts)]
    edges = np.arange(len(counts) + 1)
    tops = counts.cumsum(1)

    figure = new_figure(PAGE, 2.2)
    ax = figure.subplots()
    for c, color in enumerate(class_colors(len(labels))):
        bottom = tops[:, c] - counts[:, c]
        ax.stairs(tops[:, c], edges, baseline=bottom, fill=True, color=color, label=labels[c])
    if len(counts) <= MOST_GAPS:
        ax.vlines(edges[1:-1], 0, tops[:, -1].max(), color="white", linewidth=0.5)
    ax.margins(0)
    ax.set_xticks([])
    shown = f"{len(counts):,} of {total:,}" if len(counts) < total else f"{total:,}"
    dress(ax, x=f"{shown} clients, sorted by their main class", y="training samples")
    ax.legend(
        fontsize=SMALL,
        frameon=False,
        loc="upper left",
        bbox_to_anchor=(1, 1),
        title="class",
        title_fontsize=SMALL,
        reverse=True,
    )
    return figure


def count_labels(samples: Samples, classes: int) -> NDArray[np.int64]:
    """Return each client's number of samples of each class, shape ``(K, classes)``."""
    counts = [((samples.y == c) & samples.mask).sum(1).numpy() for c in range(classes)]
    return np.stack(counts, 1)


def skew_order(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the order of clients by the share of their main class."""
    return serpentine(counts / counts.sum(1, keepdims=True))
