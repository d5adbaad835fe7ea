import pytest

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
