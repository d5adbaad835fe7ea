"""The ablation's rows as tables, and the published numbers beside them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from qmoe_fed.experiments.datasets import IMAGES, MOONS, Dataset
from qmoe_fed.experiments.measures.gradients import decay_per_qubit
from qmoe_fed.experiments.models import Model
from qmoe_fed.experiments.statistics import Array, efficiency
from qmoe_fed.experiments.store import Arrays
from qmoe_fed.experiments.views.published import Line, comparison, read_published
from qmoe_fed.experiments.views.tables import (
    NONE,
    Show,
    Table,
    difference,
    epochs,
    number,
    only,
    paired,
    percent,
    table,
)

PUBLISHED = read_published(Path(__file__).with_name("published.toml"))
A, B, C = "A: linear", "B: quantum", "C: deep"
LETTERS = {A: "linear", B: "quantum", C: "deep"}
CONTROLS = "B without CZ", "trigonometric", A, C, "B, re-uploading"
MOONS_B, PAPER_CIRCUIT = "quantum n2 L3", "quantum n8 L4"
IMAGE_CONTROLS = {"B without CZ": "without CZ n8 L4", "trigonometric": "trig", A: "linear"}


def at(rate: float, frame: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of a learning rate."""
    return frame[frame["rate"] == rate]


def chosen(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of the learning rate that validation chose."""
    return frame[frame["chosen"].eq(True)]


RATES: dict[str, Callable[[pd.DataFrame], pd.DataFrame]] = {
    "rate 0.01": partial(at, 0.01),
    "rate 0.1": partial(at, 0.1),
    "rate chosen": chosen,
}


def eta(frame: pd.DataFrame) -> Array:
    """Return η of every seed."""
    return frame["accuracy"].to_numpy() * efficiency(1, int(frame["router_parameters"].iloc[0]))


def first(column: str, form: str = "g") -> Show:
    """Return what shows a column that is the same in all rows."""
    return lambda frame: format(frame[column].iloc[0], form)


def shown(metric: str, show: Callable[[Array], str] = percent) -> Show:
    """Return what shows a metric over the seeds."""
    return lambda frame: show(frame[metric].to_numpy(np.float64))


@dataclass(frozen=True)
class Ablation:
    """What was measured.

    Attributes:
        rows: Of all cells.
        models: Settings of the models on Two Moons by number of experts and label.
        rivals: The MLP that comes nearest to the paper's, by dataset.
        most_epochs: Of a fit.
        data: Two Moons.
        arrays: Returns the arrays of a cell by its key.
    """

    rows: pd.DataFrame
    models: Mapping[int, Mapping[str, Model]]
    rivals: Mapping[str, str]
    most_epochs: int
    data: Dataset
    arrays: Callable[[str], Arrays]

    def of(self, experts: int, label: str | None = None) -> pd.DataFrame:
        """Return the rows of the models on Two Moons, or of one of them."""
        rows = only(self.rows, part="models", experts=experts)
        return rows if label is None else only(rows, model=label)

    def swept(self, dataset: str, model: str | None = None) -> pd.DataFrame:
        """Return the rows of a sweep at the chosen rates, or of one of its models."""
        rows = chosen(only(self.rows, part="sweep", dataset=dataset))
        return rows if model is None else only(rows, model=model)

    def cases(self, read: Callable[[pd.DataFrame], Array], *labels: str) -> dict[int, dict]:
        """Return what is read of a model, or by how much of a first above a second, by case."""
        found: dict[int, dict[str, Array]] = {}
        for experts in self.models:
            for name, select in RATES.items():
                values, *others = (read(select(self.of(experts, label))) for label in labels)
                found.setdefault(experts, {})[name] = values - sum(others)
        return found


def overview(study: Ablation, experts: int) -> Table:
    """Return test accuracy by learning rate."""
    by_rate = {
        name: lambda frame, select=select: percent(select(frame)["accuracy"])
        for name, select in RATES.items()
    }
    return table(
        f"Two Moons, {experts} linear experts: test accuracy, %",
        study.of(experts),
        {"model": "model"},
        {"router": first("router_parameters"), "all": first("parameters"), **by_rate}
        | {"it is": lambda frame: format(chosen(frame)["rate"].iloc[0], "g")},
        "Mean over seeds ± half its 95% confidence interval (Student's t). router, all: numbers of "
        "parameters. rate chosen: the learning rate with the lowest mean validation loss.",
    )


def details(study: Ablation, experts: int, rate: str) -> Table:
    """Return all that is said of the models at one learning rate."""
    select = RATES[rate]
    base = select(study.of(experts, B))

    def minus_b(frame: pd.DataFrame) -> str:
        return NONE if frame["model"].iloc[0] == B else difference(paired(frame, base))

    return table(
        f"Two Moons, {experts} linear experts, {rate}",
        select(study.of(experts)),
        {"model": "model"},
        {
            "rate": first("rate"),
            "accuracy, %": shown("accuracy"),
            "macro F1, %": shown("f1"),
            "η": lambda frame: number(eta(frame).mean()),
            "minus B": minus_b,
            "to 90%": shown("epochs_to_90", epochs),
            "seconds": first("seconds", ".1f"),
        },
        "minus B: paired difference of accuracy to Model B, in points. to 90%: median epoch with "
        "that validation accuracy, and how many seeds have one if not all. seconds: for all seeds "
        "and all learning rates together.",
    )


def controls(study: Ablation) -> Table:
    """Return the differences between Model B, or its like on images, and its controls."""
    rows = []
    for label in CONTROLS:
        for experts, by_rate in study.cases(lambda f: f["accuracy"].to_numpy(), B, label).items():
            texts = (difference(values) for values in by_rate.values())
            rows.append((label, f"Two Moons, {experts} experts", *texts))
    for label, name in IMAGE_CONTROLS.items():
        for dataset in study.rivals:
            other = study.swept(dataset, name)
            if dataset != MOONS and len(other):
                gap = difference(paired(study.swept(dataset, PAPER_CIRCUIT), other))
                rows.append((label, IMAGES[dataset].title, NONE, NONE, gap))
    note = "Paired over seeds. On images B is the paper's circuit with 8 qubits and 4 layers."
    return Table("Model B minus its controls, points", ("control", "", *RATES), rows, note, 2)


def sweeps(study: Ablation, dataset: str) -> Table:
    """Return accuracy against router parameters."""
    rows = study.swept(dataset).sort_values("router_parameters", kind="stable")
    title = "Two Moons" if dataset == MOONS else IMAGES[dataset].title
    alone = study.swept(dataset, "classifier")
    return table(
        f"Parameter efficiency: {title}",
        rows,
        {"router": "model"},
        {
            "parameters": first("router_parameters"),
            "rate": first("rate"),
            "accuracy, %": shown("accuracy"),
            "η": lambda frame: number(eta(frame).mean()),
            "minus classifier": lambda frame: (
                NONE if frame is alone else difference(paired(frame, alone))
            ),
            "seconds": first("seconds", ".1f"),
        },
        f"Learning rate chosen on validation samples; {rows['seed'].nunique()} seeds. classifier: "
        "one linear map without any router; minus classifier: paired difference, in points.",
    )


def gradients(study: Ablation) -> Table:
    """Return variances of gradients against qubits, and how they fall."""
    rows = only(study.rows, part="gradients")
    qubits = sorted(rows["qubits"].unique())
    by_qubits = {
        f"n = {n:g}": lambda frame, n=n: f"{only(frame, qubits=n)['variance'].iloc[0]:.0e}"
        for n in qubits
    }
    return table(
        "Variance of the gradient of the first angle",
        rows,
        {"read": "readout", "angles ±": "angle", "layers": "layers"},
        by_qubits | {"per qubit": lambda f: f"{decay_per_qubit(f['qubits'], f['variance']):.2f}"},
        "Over random inputs and parameters. per qubit: the factor b of the best fit bⁿ; well below "
        "1 is a barren plateau.",
    )


def training(study: Ablation) -> Table:
    """Return what the ways to train change."""
    rows = only(study.rows, part="ways")
    usual = rows["model"].iloc[0]

    def change(frame: pd.DataFrame) -> str:
        about = frame.iloc[0][["qubits", "layers", "rate"]].to_dict()
        same = frame["model"].iloc[0] == usual
        return NONE if same else difference(paired(frame, only(rows, model=usual, **about)))

    return table(
        "Ways to train the paper's circuit on Two Moons, 2 experts",
        rows,
        {"training": "model", "qubits": "qubits", "layers": "layers", "rate": "rate"},
        {
            "accuracy, %": shown("accuracy"),
            "change": change,
            "to 90%": shown("epochs_to_90", epochs),
        },
        "change: paired difference to the first way, in points.",
    )


def beside(study: Ablation) -> Table:
    """Return the published numbers beside ours."""
    return comparison(
        "Published beside ours",
        [*_on_moons(study), *_on_sweeps(study)],
        "rate 0.01 / 0.1 / chosen",
        "Ours: mean over seeds ± half its 95% confidence interval. A number agrees if it lies, as "
        "rounded, where one more run of ours would fall with 95% probability; a difference is none "
        "if the interval of its mean holds zero. Published accuracies of notebooks are those on "
        "training samples.",
    )


def _on_moons(study: Ablation) -> list[Line]:
    def lines(name: str, cases: Mapping[int, Mapping[str, Array]]) -> list[Line]:
        return [Line(PUBLISHED[name], ours, f"{n} experts") for n, ours in cases.items()]

    def accuracy(frame: pd.DataFrame) -> Array:
        return frame["accuracy"].to_numpy(np.float64)

    def reached(frame: pd.DataFrame) -> Array:
        return frame["epochs_to_90"].to_numpy(np.float64)

    def never_last(frame: pd.DataFrame) -> Array:
        return np.nan_to_num(reached(frame), nan=study.most_epochs + 1)

    found = [
        line
        for label, name in LETTERS.items()
        for line in lines(f"accuracy-{name}", study.cases(accuracy, label))
    ]
    found += lines("lead", study.cases(accuracy, B, A))
    books = study.of(2, "B, notebooks")
    found.append(
        Line(PUBLISHED["accuracy-notebook"], {r: accuracy(f(books)) for r, f in RATES.items()})
    )
    sizes = [(label, f"{n} experts", study.of(n, label)) for label in LETTERS for n in study.models]
    for label, about, frame in [*sizes, (B, "as in the notebooks", books)]:
        ours = {"": frame["router_parameters"].iloc[0]}
        found.append(Line(PUBLISHED[f"parameters-{LETTERS[label]}"], ours, about))
    for label, name in LETTERS.items():
        found += lines(f"eta-{name}", study.cases(eta, label))
        printed = PUBLISHED[f"accuracy-{name}"].value, PUBLISHED[f"parameters-{name}"].value
        formula = {"": efficiency(printed[0], int(printed[1]))}
        found.append(Line(PUBLISHED[f"eta-{name}"], formula, "from the paper's own numbers"))
    found += lines("epochs-quantum", study.cases(reached, B))
    found += lines("epochs-deep", study.cases(reached, C))
    return found + lines("epochs-gap", study.cases(never_last, B, C))


def _on_sweeps(study: Ablation) -> list[Line]:
    rivals = only(study.swept(MOONS), family="MLP").sort_values("router_parameters", kind="stable")
    b = study.swept(MOONS, MOONS_B)
    enough = [
        parameters / b["router_parameters"].iloc[0]
        for parameters, frame in rivals.groupby("router_parameters")
        if frame["accuracy"].mean() >= b["accuracy"].mean()
    ]
    found = [Line(PUBLISHED["times-more"], {"": min(enough, default=float("inf"))})]
    for model, frame in rivals.groupby("model", sort=False):
        if model in PUBLISHED:
            found.append(Line(PUBLISHED[model], {"": frame["accuracy"]}))
    own = study.swept("mnist-0-1", PAPER_CIRCUIT)
    other = study.swept("mnist-0-1", study.rivals.get("mnist-0-1", ""))
    for name, frame in (("mnist-quantum", own), ("mnist-classical", other)):
        found.append(Line(PUBLISHED[name], {"": frame["accuracy"]} if len(frame) else {}))
    lead = {"": paired(own, other)} if len(own) else {}
    found.append(Line(PUBLISHED["mnist-lead"], lead))
    for dataset, rival in study.rivals.items():
        quantum = study.swept(dataset, MOONS_B if dataset == MOONS else PAPER_CIRCUIT)
        title = "Two Moons" if dataset == MOONS else IMAGES[dataset].title
        for name, kind in (("linear", "linear"), (rival, "MLP")):
            factor = eta(quantum).mean() / eta(study.swept(dataset, name)).mean()
            found.append(Line(PUBLISHED["eta-factor"], {"": factor}, f"{title}, {kind}"))
    return found
