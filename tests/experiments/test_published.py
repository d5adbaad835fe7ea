import math
from pathlib import Path

import ablation_views
import numpy as np
import pandas as pd
import pytest

from qmoe_fed.experiments.statistics import Interval, efficiency
from qmoe_fed.experiments.views.published import (
    AGREES,
    HIGHER,
    LOWER,
    NO_DIFFERENCE,
    NOT_MEASURED,
    Published,
    comparison,
    lines,
    read_published,
)

FILE = Path(ablation_views.__file__).with_name("published.toml")
EVERY = [lambda frame: frame]


def published(value, rounding=0.005, **more):
    return Published("claim", value, rounding, "Table I", **more)


@pytest.mark.parametrize(
    ("claim", "found"),
    [
        (0.65, HIGHER),
        (0.895, HIGHER),
        (0.896, AGREES),
        (0.94, AGREES),
        (0.954, AGREES),
        (0.956, LOWER),
    ],
)
def test_a_number_agrees_if_it_lies_in_the_interval_as_it_was_rounded(claim, found):
    assert published(claim).judge(Interval(0.925, 0.9005, 0.95)) == found


def test_seeds_are_judged_by_one_more_run():
    values = [0.93, 0.95, 0.97]  # one more run falls within 0.95 ± 0.099
    assert published(0.86).judge(values) == AGREES
    assert published(0.84).judge(values) == HIGHER
    assert published(12, 0.5).judge(12.0) == AGREES
    assert published(24, 0.5).judge(6.0) == LOWER


def test_a_lead_is_none_if_its_interval_holds_zero():
    lead = {"unit": "points", "relation": "lead"}
    assert published(0.01, 0.001, **lead).judge([0.03, -0.02, 0.01]) == NO_DIFFERENCE
    assert published(0.29, 0.01, **lead).judge([0.03, 0.02, 0.04]) == LOWER
    assert published(0.03, 0.01, **lead).judge([0.03, 0.02, 0.04]) == AGREES
    assert published(0.03, 0.01, **lead).judge([-0.03, -0.02, -0.04]) == NO_DIFFERENCE


def test_of_a_difference_without_size_the_sign_counts():
    gap = published(-30, 0.5, unit="epochs", relation="sign")
    assert gap.judge([-3, -4, -5]) == AGREES
    assert gap.judge([3, 4, 5]) == HIGHER
    assert gap.judge([-3, 4, 5]) == NO_DIFFERENCE
    assert gap.show([-3, -4, -5], run=False) == "-4.0±2.5"


def test_epochs_that_were_not_reached_count():
    within = published(20, 0.5, unit="epochs", relation="<=")
    assert within.judge([4, 5, math.nan]) == AGREES
    assert within.judge([4, math.nan, math.nan]) == HIGHER
    exactly = published(50, 0.5, unit="epochs")
    assert exactly.judge([4, math.nan, math.nan]) == HIGHER
    assert exactly.judge([4, 5, math.nan]) == LOWER
    assert exactly.show([4, 5, math.nan], run=False) == "4.5 (2/3)"


def test_a_range_is_from_end_to_end():
    factor = published(1.5, 0.0, relation="between", until=2.5)
    assert [factor.judge(x) for x in (1.4, 1.5, 2.5, 2.6)] == [LOWER, AGREES, AGREES, HIGHER]
    assert factor.text == "1.5 to 2.5"


@pytest.mark.parametrize(
    ("value", "more", "text"),
    [
        (0.65, {"unit": "%"}, "65%"),
        (0.965, {"unit": "%", "rounding": 0.0005}, "96.5%"),
        (0.29, {"unit": "points"}, "29"),
        (2.79, {}, "2.79"),
        (12, {"rounding": 0.5}, "12"),
        (20, {"rounding": 0.5, "relation": "<="}, "≤ 20"),
        (0.025, {"rounding": 0.0005}, "0.025"),
    ],
)
def test_a_number_is_shown_as_it_is_printed(value, more, text):
    assert published(value, **more).text == text


ROWS = pd.DataFrame(
    [
        {"model": m, "experts": n, "seed": s, "accuracy": base + 0.01 * s + 0.1 * (n == 4)}
        for m, base in (("A", 0.6), ("B", 0.8))
        for n in (2, 4)
        for s in range(3)
    ]
)


def test_ours_are_the_rows_it_names_by_a_factor():
    number = published(0.81, unit="%", rows={"model": "B"}, by="experts")
    two, four = lines(number, ROWS, EVERY)
    assert (two[3:], four[4]) == (("81.0±2.5", AGREES), HIGHER)
    lead = published(0.2, unit="points", rows={"model": "B", "experts": 2}, minus={"model": "A"})
    (line,) = lines(lead, ROWS, EVERY)
    assert line[3] == "+20.0±0.0"
    ratio = published(1.0, rows={"model": "B", "experts": 2}, over={"model": "A"})
    assert ratio.measured(ROWS) == pytest.approx(0.81 / 0.61)


def test_the_table_says_what_was_not_measured_and_what_cases_have_in_common():
    absent = lines(published(0.81, unit="%", rows={"model": "C"}), ROWS, EVERY)
    present = lines(published(0.8, unit="%", rows={"model": "B", "experts": 2}), ROWS, EVERY * 2)
    mixed = published(0.8, unit="%", rows={"model": "B"})
    cases = [lambda f, n=n: f[f["experts"] == n] for n in (2, 4)]
    table = comparison("t", [*absent, *present, *lines(mixed, ROWS, cases)], "cases", "")
    assert [row[-2:] for row in table.rows] == [
        ("–", NOT_MEASURED),
        ("81.0±2.5", AGREES),
        ("81.0±2.5 / 91.0±2.5", f"{AGREES} / {HIGHER}"),
    ]


def test_the_papers_formula_does_not_give_the_papers_efficiency():
    numbers = read_published(FILE, "ablation")
    found = {
        kind: efficiency(numbers[f"accuracy-{kind}"].value, numbers[f"parameters-{kind}"].value)
        for kind in ("linear", "deep", "quantum")
    }
    assert [round(value, 3) for value in found.values()] == [0.253, 0.170, 0.292]
    factors = [numbers[f"eta-{kind}"].value / value for kind, value in found.items()]
    assert np.round(factors, 1).tolist() == [11.0, 22.5, 24.4]
    assert all(numbers[f"eta-{kind}"].judge(value) == LOWER for kind, value in found.items())


def test_every_published_number_says_where_it_is_printed():
    for study in ("ablation", "noise", "notebook"):
        for number in read_published(FILE, study).values():
            assert number.claim
            assert number.where.startswith(("paper, ", "notebook"))
