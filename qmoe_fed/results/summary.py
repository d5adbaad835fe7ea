"""The figures a federated run is judged by."""

from collections.abc import Mapping
from typing import Any

from qmoe_fed.results.tables import print_table

Summary = dict[str, Any]

HEADLINE_SAMPLES = 8


def headline_size(sizes: list[int]) -> int:
    """Return the number of labelled samples the summary quotes: 8, or the nearest there is."""
    return min(sizes, key=lambda size: abs(size - HEADLINE_SAMPLES))


def print_summary(summary: Mapping[str, Any]) -> None:
    """Print the summary of a run as tables."""
    rows = [
        ("status", summary["status"]),
        ("clients × rounds", f"{summary['clients']} × {summary['rounds']}"),
        ("seed", str(summary["seed"])),
        ("router parameters", str(summary["router_parameters"])),
        ("bytes up per client and round", f"{summary['bytes_up_per_client_round']:g}"),
        ("accuracy, mean over clients", percent(summary["accuracy_mean"])),
        ("accuracy, standard deviation over clients", percent(summary["accuracy_std"])),
        ("accuracy, worst 10% of clients", percent(summary["accuracy_worst10"])),
    ]
    if summary.get("epsilon") is not None:
        rows.append((f"ε at δ = {summary['delta']:g}", f"{summary['epsilon']:.2f}"))
    rows.append(("seconds", f"{summary['wall_seconds']:.1f}"))
    print_table("Result", ("", ""), rows)
    if unseen := summary["unseen"]:
        sizes = list(unseen["shared"])
        labels = {
            "shared": "shared router kept, experts fitted",
            "scratch": "router and experts fitted from scratch",
            "random": "random router kept, experts fitted",
        }
        print_table(
            f"{summary['unseen_clients']} unseen clients: accuracy by labelled samples",
            ("", *sizes),
            [(labels[k], *(percent(by_size[s]["mean"]) for s in sizes)) for k, by_size in unseen.items()],
        )


def percent(value: float | None) -> str:
    """Return a share as a percentage with one decimal."""
    return "–" if value is None else f"{100 * value:.1f}%"
