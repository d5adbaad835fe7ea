"""Measures speed and scale against what users could pick instead.

    python benchmarks/run.py [--quick] [--only SECTION] [--output-dir DIR] [--data-dir DIR]

Writes ``benchmarks.json`` and ``benchmarks.md``, by default to ``runs/benchmarks``. The
whole run takes about an hour, ``--quick`` less than a minute.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = "1"  # before torch starts

import encrypted_sum
import experts
import federation
import router
import secure_sum
import solving
import startup
import study
import torch
from timing import Result, machine

Section = Callable[[Path | None], Iterable[Result]]

QUICK: dict[str, Section] = {
    "router": lambda _: router.measure([(2, 32), (6, 32)], 0.5),
    "noise": lambda _: router.under_noise([(2, 32), (4, 8)], 0.5),
    "scale": lambda _: federation.scale([1000]),
    "secure sum": lambda _: secure_sum.measure([(50, 6, 0.1, True)]),
    "encrypted sum": lambda _: encrypted_sum.costs([("bfv", 10, 9), ("ckks", 10, 9)]),
    "notebook": lambda data: [study.notebook(data, epochs=1, slice_size=32)],
    "seeds": lambda _: study.seeds_together(4, 0.5),
    "quantum experts": lambda _: experts.together(10, 4, 3, 0.5),
    "solved steps": lambda _: solving.steps(50, 0.5),
    "solved fits": lambda _: solving.fits(8, 200, 2, 0.5),
    "import": lambda _: [startup.imports(1)],
}

SIZES = (2, 4, 6, 8, 12, 16)
ROUNDS = [(50, 9), (200, 5), (1000, 3)]  # numbers of clients and of turns
SUMS = [(n, 6, 0.1, lies) for n in (50, 1000) for lies in (False, True)]
SUMS += [(50, 5000, 0.1, True), (10_000, 6, 0.1, False), (10_000, 6, 0.05, True)]
ENCRYPTED = [(s, 10, d) for s in ("bfv", "ckks", "ckks-8192") for d in (6, 32, 227, 31_424)]
ENCRYPTED += [("bfv", 1000, 6), ("bfv", 10_000, 6)]

FULL: dict[str, Section] = {
    "router, batch 32": lambda _: router.measure([(n, 32) for n in SIZES], 5),
    "router, batch 256": lambda _: router.measure([(n, 256) for n in SIZES[:5]], 5),
    "router, batch 256, 16 qubits": lambda _: router.measure([(16, 256)], 5, ["lightning.qubit"]),
    "router, 20 qubits": lambda _: router.measure([(20, 2)], 5, ["lightning.qubit"]),
    "noise": lambda _: router.under_noise(
        [(2, 32), (4, 32), (6, 32), (8, 8)], 5, ["RY-CZ", "re-uploading"]
    ),
    "round": lambda _: (federation.against_flower(n, turns) for n, turns in ROUNDS),
    "scale": lambda _: federation.scale([1000, 10_000, 100_000], rounds=5),
    "secure sum": lambda _: secure_sum.measure(SUMS),
    "encrypted sum": lambda _: encrypted_sum.costs(ENCRYPTED),
    "encrypted MNIST": lambda data: encrypted_sum.runs(data, ["bfv", "ckks-8192"], range(3)),
    "encrypted MNIST, a little": lambda data: encrypted_sum.runs(
        data, ["bfv", "ckks-8192"], range(3), max_train_samples=256, local_epochs=2
    ),
    "two SuperNodes": lambda _: federation.on_supernodes([1000, 10_000, 100_000], rounds=5),
    "notebook": lambda data: [study.notebook(data, epochs=3, slice_size=128)],
    "seeds": lambda _: study.seeds_together(20, 5),
    "quantum experts": lambda _: (
        row for k, n in ((10, 3), (50, 3), (10, 6)) for row in experts.together(k, 4, n, 5)
    ),
    "solved steps": lambda _: (row for n in (50, 1000) for row in solving.steps(n, 10)),
    "solved fits": lambda _: (row for d in (8, 32) for row in solving.fits(d, 2000, 10, 10)),
    "import": lambda _: [startup.imports(5)],
    "example, local": lambda _: [startup.example("local", 3)],
    "example, flower": lambda _: [startup.example("flower", 3)],
}


def markdown(results: Result) -> str:
    """Return all sections as tables, a row per case."""
    about = results["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
    lines = [
        f"{about['processor']}, {about['cores']} cores, load {about['load']:.1f}; "
        f"{about['threads']} thread; Python {about['python']}, {versions}.",
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


def main() -> None:
    """Run the sections asked for and write the results after each case."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="few and small cases")
    parser.add_argument("--only", action="append", help="a section; may be repeated")
    parser.add_argument("--output-dir", type=Path, default=Path("runs/benchmarks"))
    parser.add_argument("--data-dir", type=Path, help="folder with MNIST's four files")
    options = parser.parse_args()
    sections = QUICK if options.quick else FULL
    if unknown := set(options.only or ()) - sections.keys():
        parser.error(f"no section {', '.join(unknown)}; there are: {', '.join(sections)}")

    torch.set_num_threads(1)
    options.output_dir.mkdir(parents=True, exist_ok=True)
    results: Result = {"machine": machine(), "sections": {}}
    started = time.monotonic()
    print(f"{results['machine']['processor']}, {torch.get_num_threads()} thread")
    for name in options.only or sections:
        print(f"{name} …", flush=True, file=sys.stderr)
        rows = results["sections"][name] = []
        for row in sections[name](options.data_dir):
            rows.append(row)
            results["wall_seconds"] = time.monotonic() - started
            (options.output_dir / "benchmarks.json").write_text(json.dumps(results, indent=1))
            (options.output_dir / "benchmarks.md").write_text(markdown(results))
    print(markdown(results))
    print(f"results: {options.output_dir.absolute()}")


if __name__ == "__main__":
    main()
