"""The measurements as Markdown."""

from typing import Any

from timing import Result


def markdown(results: Result) -> str:
    """Return all sections as tables, a row per case."""
    machine = results["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    lines = [
        f"{machine['processor']}, {machine['cores']} cores, load {machine['load']:.1f}; "
        f"{machine['threads']} thread; Python {machine['python']}, {versions}.",
        "",
        "Medians with quartiles in brackets. Times are in ms of processor time unless they are "
        "called wall; ratios say how many times longer than qmoe_fed.",
    ]
    for section, rows in results["sections"].items():
        lines += ["", f"## {section}", "", *_table([_flat(row) for row in rows])]
    return "\n".join(lines) + "\n"


def _flat(row: Result) -> dict[str, str]:
    cells = {}
    for key, value in row.items():
        if key == "seconds":
            cells |= {f"{name}, ms": _spread(s, 1e3) for name, s in value.items()}
        elif key == "ratios":
            cells |= {f"{name}, ratio": _spread(s, 1) for name, s in value.items()}
        else:
            cells[key] = f"{value:.3g}" if isinstance(value, float) else str(value)
    return cells


def _spread(values: dict[str, Any], unit: float) -> str:
    numbers = [values["median"], *values.get("quartiles", [])]
    median, *quartiles = (_number(unit * number) for number in numbers)
    return f"{median} ({quartiles[0]}–{quartiles[1]})" if quartiles else median


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _table(rows: list[dict[str, str]]) -> list[str]:
    names = list(dict.fromkeys(name for row in rows for name in row))
    head = ["| " + " | ".join(names) + " |", "|" + "---|" * len(names)]
    return head + ["| " + " | ".join(row.get(name, "") for name in names) + " |" for row in rows]
