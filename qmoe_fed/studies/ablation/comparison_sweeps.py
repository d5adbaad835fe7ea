"""The paper beside ours: what it and the notebooks print about parameter efficiency."""

from collections.abc import Mapping, Sequence

from qmoe_fed.studies.ablation import paper
from qmoe_fed.studies.ablation.efficiency import MLP, MOONS_B, PAPER_CIRCUIT, rival
from qmoe_fed.studies.ablation.lines import (
    NONE,
    Line,
    by_case,
    compare_values,
    leads,
    near,
    signed,
)
from qmoe_fed.studies.ablation.summary import find
from qmoe_fed.studies.ablation.verdicts import HIGHER, HOLDS, LOWER, Case, compare, judge
from qmoe_fed.studies.datasets import MOONS
from qmoe_fed.studies.report import percent
from qmoe_fed.studies.statistics import Interval, efficiency
from qmoe_fed.studies.trials import Outcome

Sweeps = Mapping[str, Sequence[Outcome]]
"""Outcomes by dataset."""


def sweep_lines(sweeps: Sweeps) -> list[Line]:
    """Return the lines on parameter efficiency (section VI-B and the notebook of phase 3).

    Those on datasets or routers that were not run are left out.
    """
    lines = [_times_more(sweeps[MOONS]), *_widths(sweeps[MOONS])]
    if "mnist-0-1" in sweeps:
        lines += _mnist(sweeps["mnist-0-1"])
    return [*lines, _eta_factors(sweeps)]


def _times_more(outcomes: Sequence[Outcome]) -> Line:
    b = find(outcomes, MOONS_B)
    rivals = sorted(
        (o for o in outcomes if o.trial.model.label == MLP), key=lambda o: o.router_parameters
    )
    equal = [o for o in rivals if o.chosen.accuracy.mean() >= b.chosen.accuracy.mean()]
    if not equal:
        widest = rivals[-1]
        ours = f"none of the MLPs up to {widest.router_parameters} parameters comes up to B"
        verdict = f"not reproduced: {HIGHER}"
    else:
        first = equal[0]
        ratio = first.router_parameters / b.router_parameters
        ours = (
            f"{ratio:.1f} times: {first.router_parameters} parameters reach "
            f"{percent(first.chosen.accuracy)}, the {b.router_parameters} of B "
            f"{percent(b.chosen.accuracy)}"
        )
        exact = Interval(ratio, ratio, ratio)
        verdict = judge({("",): compare(paper.TIMES_MORE_PARAMETERS, 0.5, exact)}, ("",))
    claim = "parameters an MLP needs to come up to B, times B's"
    return Line(claim, f"{paper.TIMES_MORE_PARAMETERS}", NONE, ours, verdict)


def _widths(outcomes: Sequence[Outcome]) -> list[Line]:
    own = {
        width: outcome
        for outcome in outcomes
        for width in paper.NOTEBOOK_MLP
        if outcome.trial.model.name == f"mlp-{width}"
    }
    if not own:
        return []
    findings: dict[Case, str] = {
        (f"width {width}",): near(paper.NOTEBOOK_MLP[width], 0.0005)(outcome.chosen.accuracy)
        for width, outcome in own.items()
    }
    texts: dict[Case, str] = {
        (f"width {width}",): percent(outcome.chosen.accuracy) for width, outcome in own.items()
    }
    return [
        Line(
            "accuracy of MLP routers, by width",
            NONE,
            "\n".join(f"{paper.NOTEBOOK_MLP[width]:.1%}" for width in own),
            by_case(texts),
            judge(findings, ("width",)),
        )
    ]


def _mnist(outcomes: Sequence[Outcome]) -> list[Line]:
    lines = []
    routers = {"quantum": PAPER_CIRCUIT, "classical": rival("mnist-0-1")}
    for kind, (claim, parameters) in paper.MNIST.items():
        own = find(outcomes, routers[kind])
        lines.append(
            compare_values(
                f"accuracy on MNIST, 0 against 1, {kind} router, {parameters} parameters",
                (f"{claim:.1%}", NONE),
                {(f"{own.router_parameters} parameters",): own.chosen.accuracy},
                percent,
                near(claim, 0.0005),
                ("",),
            )
        )
    quantum, classical = (find(outcomes, name).chosen.accuracy for name in routers.values())
    claim = paper.MNIST["quantum"][0] - paper.MNIST["classical"][0]
    lead = compare_values(
        "lead of the quantum router there, points",
        (f"{100 * claim:.1f}", NONE),
        {("same samples",): quantum - classical},
        signed,
        leads(claim, 0.001),
        ("",),
    )
    return [*lines, lead]


def _eta_factors(sweeps: Sweeps) -> Line:
    low, high = paper.ETA_FACTORS

    def factor(quantum: Outcome, classical: Outcome) -> float:
        own, other = (
            o.chosen.accuracy.mean() * efficiency(1, o.router_parameters)
            for o in (quantum, classical)
        )
        return float(own / other)

    values: dict[Case, float] = {
        (outcomes[0].trial.source.title, kind): factor(quantum, find(outcomes, name))
        for dataset, outcomes in sweeps.items()
        for quantum in [find(outcomes, MOONS_B if dataset == MOONS else PAPER_CIRCUIT)]
        for kind, name in (("linear", "linear"), ("MLP", rival(dataset)))
    }
    findings = {
        case: HIGHER if value > high else LOWER if value < low else HOLDS
        for case, value in values.items()
    }
    return Line(
        "η of the quantum router over that of the linear / MLP one",
        f"{low:g} to {high:g}",
        NONE,
        by_case({case: f"{value:.2f}" for case, value in values.items()}),
        judge(findings, ("dataset", "classical router")),
    )
