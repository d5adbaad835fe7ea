import numpy as np
import pytest
from qmoe_fed.studies.ablation import comparison
from qmoe_fed.studies.ablation.lines import by_case, leads
from qmoe_fed.studies.ablation.verdicts import HIGHER, HOLDS, LOWER, compare, judge
from qmoe_fed.studies.statistics import Interval

FACTORS = ("number of experts", "learning rate")


@pytest.mark.parametrize(
    ("claim", "found"),
    [
        (0.65, HIGHER),
        (0.895, HIGHER),
        (0.896, HOLDS),
        (0.94, HOLDS),
        (0.954, HOLDS),
        (0.956, LOWER),
    ],
)
def test_a_number_holds_if_it_lies_in_the_interval_as_it_was_rounded(claim, found):
    assert compare(claim, 0.005, Interval(0.925, 0.9005, 0.95)) == found


@pytest.mark.parametrize(
    ("findings", "verdict"),
    [
        ((HOLDS, HOLDS, HOLDS, HOLDS), "reproduced"),
        ((LOWER, LOWER, LOWER, LOWER), "not reproduced: ours is lower"),
        (
            (HOLDS, HIGHER, HOLDS, HIGHER),
            "depends on the learning rate: reproduced for 0.01; otherwise ours is higher",
        ),
        (
            (LOWER, LOWER, HOLDS, HOLDS),
            "depends on the number of experts: ours is lower for 2; otherwise reproduced",
        ),
        (
            (LOWER, HOLDS, HOLDS, HOLDS),
            "depends on the number of experts and the learning rate: ours is lower for 2, 0.01; "
            "otherwise reproduced",
        ),
        (
            (HIGHER, LOWER, LOWER, LOWER),
            "not reproduced: ours is higher for 2, 0.01; otherwise ours is lower",
        ),
    ],
)
def test_the_verdict_names_what_decides(findings, verdict):
    cases = [("2", "0.01"), ("2", "0.1"), ("4", "0.01"), ("4", "0.1")]
    assert judge(dict(zip(cases, findings, strict=True)), FACTORS) == verdict


def test_the_papers_formula_does_not_give_the_papers_efficiency():
    line = comparison._formula()
    assert line.ours.split() == ["0.253", "0.170", "0.292"]
    assert line.verdict.endswith("the factors to the printed numbers are 11.0, 22.5, 24.4")


def test_a_lead_is_none_if_its_interval_holds_zero():
    assert leads(0.01, 0.001)(np.array([0.03, -0.02, 0.01])) == "ours is no lead"
    assert leads(0.29, 0.01)(np.array([0.03, 0.02, 0.04])) == LOWER
    assert leads(0.03, 0.01)(np.array([0.03, 0.02, 0.04])) == HOLDS


def test_cases_are_shown_by_their_first_factor():
    texts = {("2 experts", "0.01"): "a", ("2 experts", "0.1"): "b", ("4 experts", "0.01"): "c"}
    assert by_case(texts) == "2 experts: a / b\n4 experts: c"
