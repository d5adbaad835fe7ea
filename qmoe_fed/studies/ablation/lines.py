"""A published number beside ours: how both are shown, and how one is judged by the other."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from textwrap import fill

from qmoe_fed.studies.ablation.verdicts import Case, compare, judge
from qmoe_fed.studies.report import Table, points
from qmoe_fed.studies.statistics import Array, mean_interval, run_interval

FACTORS = "number of experts", "learning rate"
NONE = "–"

Values = Mapping[Case, Array]
"""What was measured, one number per seed, by case."""


@dataclass(frozen=True)
class Line:
    """A published number beside ours.

    Attributes:
        claim: What is claimed.
        paper: The paper's number.
        notebooks: That of the authors' notebooks.
        ours: Ours, by what it depends on.
        verdict: In words.
    """

    claim: str
    paper: str
    notebooks: str
    ours: str
    verdict: str


NOTE = (
    "Ours: mean over seeds ± half its 95% confidence interval, at the learning rate of the paper / "
    "of the notebooks / chosen on validation samples. A number is reproduced if it lies, as "
    "rounded, where one more run of ours would fall with 95% probability; the paper gives no "
    "spread. The notebooks' accuracies are those on the training samples."
)
NARROW = 31
OURS = "ours (rate 0.01 / 0.1 / chosen)"


def table(lines: Sequence[Line]) -> Table:
    """Return the lines as a table."""
    return Table(
        "Paper beside ours",
        ("claim", "paper", "notebooks", OURS, "verdict"),
        [(x.claim, x.paper, x.notebooks, x.ours, x.verdict) for x in lines],
        NOTE,
        texts=(0, 1, 2, 3, 4),
    )


def narrow_table(lines: Sequence[Line]) -> Table:
    """Return the lines as a table for the terminal, verdicts below the claims."""
    return Table(
        "Paper beside ours",
        ("claim → verdict", "paper", "notebooks", OURS),
        [
            (
                f"{fill(x.claim, NARROW)}\n{fill(f'→ {x.verdict}', NARROW)}",
                x.paper,
                x.notebooks,
                x.ours,
            )
            for x in lines
        ],
        NOTE,
        texts=(0, 1, 2, 3),
    )


def by_case(texts: Mapping[Case, str]) -> str:
    """Return one text for all cases, with a line for each value of their first factor."""
    groups: dict[str, list[str]] = {}
    for (first, *_), text in texts.items():
        groups.setdefault(first, []).append(text)
    return "\n".join(f"{first}: {' / '.join(group)}" for first, group in groups.items())


def compare_values(
    claim: str,
    published: tuple[str, str],
    values: Values,
    show: Callable[[Array], str],
    test: Callable[[Array], str],
    factors: Sequence[str] = FACTORS,
) -> Line:
    """Return a line.

    Args:
        claim: What is claimed.
        published: The paper's number and that of the notebooks.
        values: What was measured.
        show: Returns the numbers of a case as text.
        test: Returns ``verdicts.HOLDS`` or what was found instead.
        factors: What the cases differ in.
    """
    texts = {case: show(own) for case, own in values.items()}
    findings = {case: test(own) for case, own in values.items()}
    return Line(claim, *published, by_case(texts), judge(findings, factors))


def signed(values: Array) -> str:
    """Return mean and half interval of differences of shares, in points."""
    return points(mean_interval(values), sign=True).replace(" ", "")


def near(claim: float, rounding: float) -> Callable[[Array], str]:
    """Return the test whether one more run would give a number, as it was rounded."""
    return lambda values: compare(claim, rounding, run_interval(values))


def leads(claim: float, rounding: float) -> Callable[[Array], str]:
    """Return the test whether one is ahead of the other, and one more run would show so much."""

    def test(values: Array) -> str:
        ahead = mean_interval(values).low > 0
        return near(claim, rounding)(values) if ahead else "ours is no lead"

    return test
