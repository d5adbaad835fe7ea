"""The figures a federated run is judged by."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from qmoe_fed.learning import worst_tenth
from qmoe_fed.results.tables import print_table

HEADLINE_SAMPLES = 8
UNSEEN = "mean accuracy after fitting what is their own"
PLACES = ("engine", "output-dir", "data-dir", "resume", "checkpoint-every", "figures", "log")
"""Settings that say where and how a run is carried out, and nothing of what it finds."""

NOISE_SOURCES = {"system": "the system's generator", "seed": "the seed, for experiments only"}


def headline_size(sizes: list[int]) -> int:
    """Return the number of labelled samples the summary quotes: 8, or the nearest there is."""
    return min(sizes, key=lambda size: abs(size - HEADLINE_SAMPLES))


def spread(values: Tensor, higher_is_better: bool = True) -> dict[str, float]:
    """Return a metric's mean, standard deviation and mean of the worst 10% over clients ``(k,)``.

    The standard deviation is the population's: it describes these clients. Of a mean alone, ``()``,
    the others are NaN.
    """
    if not values.dim():
        return {"mean": float(values), "std": math.nan, "worst10": math.nan}
    sign = 1 if higher_is_better else -1
    return {
        "mean": float(values.mean()),
        "std": float(values.std(correction=0)),
        "worst10": sign * worst_tenth(sign * values),
    }


def unseen_labels(share: str) -> dict[str, str]:
    """Return in words what unseen clients are given and what they fit, by kind of score."""
    if share == "none":
        return {"scratch": "own router, own experts"}
    words = {"router": "router, own experts", "experts": "experts, own router"}
    words |= {"prior": "router and prior, own experts", "all": "router and experts"}
    sources = {"shared": "shared", "scratch": "own", "random": "random"}
    return {kind: f"{source} {words[share]}" for kind, source in sources.items()}


def print_summary(summary: Mapping[str, Any]) -> None:
    """Print the summary of a run as tables."""
    print_table("Result", (), [*figures_of(summary).items()])
    if rows := unseen_of(summary):
        title = unseen_title(summary)
        header = ("labelled samples", *summary["unseen"]["scratch"])
        print_table(title, header, [(label, *values) for label, values in rows.items()])
    print(flush=True)


def figures_of(summary: Mapping[str, Any]) -> dict[str, str]:
    """Return the figures of a run as they are shown, each with its name."""
    status, rounds = summary["status"], summary["rounds"]
    counted = f", {summary['rounds_counted']} of them counted"
    scored, clients = summary["clients_scored"], f"{summary['clients']:,}"
    rows = {
        "status": f"{status}: {summary['reason']}" if summary["reason"] else status,
        "clients": clients if scored == summary["clients"] else f"{scored:,} of {clients} scored",
        "rounds": f"{rounds}{counted if summary['rounds_counted'] < rounds else ''}",
        "seed": f"{summary['seed']}",
        "router parameters": f"{summary['router_parameters']:,}",
        "bytes up per client and round": f"{summary['bytes_up_per_client_round']:,.0f}",
        "accuracy, mean over clients": percent(summary["accuracy_mean"]),
        "accuracy, standard deviation over clients": percent(summary["accuracy_std"]),
        "accuracy, mean of the worst 10% of clients": percent(summary["accuracy_worst10"]),
        "routing entropy of a sample": bits(summary["routing_entropy"]),
        "what the expert tells about the client": bits(summary["routing_client_information"]),
        "what the expert tells about the class": bits(summary["routing_class_information"]),
        "dead experts": f"{summary['routing_dead_experts']}",
    }
    if summary["epsilon"] is not None:
        rows[f"ε at δ = {summary['delta']:g}"] = f"{summary['epsilon']:.2f}"
        rows["noise comes from"] = NOISE_SOURCES.get(summary["noise_source"], "unknown")
    rows["seconds"] = f"{summary['wall_seconds']:.1f}"
    return rows


def unseen_title(summary: Mapping[str, Any]) -> str:
    """Return what the accuracies of unseen clients are, and of how many of them."""
    total, scored = summary["unseen_clients"], summary.get("unseen_clients_scored")
    some = f"{scored:,} of " if scored not in (None, total) else ""
    return f"{some}{total:,} unseen clients: {UNSEEN}"


def unseen_of(summary: Mapping[str, Any]) -> dict[str, list[str]]:
    """Return the mean accuracies of unseen clients by number of samples; a row for each kind."""
    labels, unseen = unseen_labels(summary["share"]), summary["unseen"]
    kinds = labels if unseen else {}
    return {labels[k]: [percent(own["mean"]) for own in unseen[k].values()] for k in kinds}


def differing(every: Sequence[Mapping[str, object]]) -> list[str]:
    """Return the settings in which runs, given by all their settings, differ; not the PLACES."""
    return [k for k in every[0] if k not in PLACES and len({own[k] for own in every}) > 1]


def bits(value: float | None) -> str:
    """Return an entropy or information with its unit; a dash if there is none."""
    return "–" if value is None or math.isnan(value) else f"{value:.2f} bits"


def percent(value: float | None) -> str:
    """Return a share as a percentage with one decimal; a dash if there is none."""
    return "–" if value is None or math.isnan(value) else f"{100 * value:.1f}%"
