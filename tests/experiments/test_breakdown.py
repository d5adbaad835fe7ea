import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from noise_views import shown

from qmoe_fed.experiments.statistics import Interval, breakdown, first_below

STRENGTHS = [0.0, 0.1, 0.2, 0.4]


def test_crossings_are_interpolated():
    curves = np.array(
        [
            [1.0, 0.8, 0.6, 0.2],  # crosses 0.7 halfway between 0.1 and 0.2
            [1.0, 0.9, 0.9, 0.5],  # … halfway between 0.2 and 0.4
            [0.9, 0.5, 0.9, 0.5],  # the first of two crossings counts
            [0.6, 0.9, 0.9, 0.9],  # is below without noise
            [0.9, 0.8, 0.7, 0.7],  # touches the level and never falls below
        ]
    )
    found = first_below(STRENGTHS, curves, np.full(5, 0.7))
    np.testing.assert_allclose(found, [0.15, 0.3, 0.05, 0.0, math.inf])


@given(st.floats(0.2, 3), st.floats(0.05, 0.95))
def test_a_straight_line_crosses_where_it_should(slope, level):
    curve = 1 - slope * np.array(STRENGTHS)
    expected = (1 - level) / slope
    (found,) = first_below(STRENGTHS, curve[None], np.array([level]))
    if expected < 0.399:
        assert found == pytest.approx(expected)
    elif expected > 0.401:
        assert math.isinf(found)


def test_the_interval_spans_what_resampled_seeds_say():
    early, late = [0.9, 0.7, 0.5, 0.5], [0.9, 0.8, 0.7, 0.5]
    same = breakdown(STRENGTHS, np.array([early] * 5).T, np.full(5, 0.6), seed=0)
    assert (same.mean, same.low, same.high) == pytest.approx((0.15, 0.15, 0.15))

    mixed = breakdown(STRENGTHS, np.array([early] * 5 + [late] * 5).T, np.full(10, 0.6), seed=0)
    assert mixed.mean == pytest.approx(0.2)
    assert 0.15 < mixed.low < mixed.mean < mixed.high < 0.3
    again = breakdown(STRENGTHS, np.array([early] * 5 + [late] * 5).T, np.full(10, 0.6), seed=0)
    assert again == mixed


def test_what_is_not_reached_is_said_to_be_not_reached():
    flat = np.full((4, 5), 0.9)
    never = breakdown(STRENGTHS, flat, np.full(5, 0.6), seed=0)
    assert never == Interval(math.inf, math.inf, math.inf)
    assert shown(never, 0.4) == "not reached up to 0.4"

    flat[-1, 0] = -1.0  # one seed in five falls so deep that it decides
    sometimes = breakdown(STRENGTHS, flat, np.full(5, 0.6), seed=0)
    assert math.isinf(sometimes.high)  # 1 - (4/5)⁵ = 67% of the resamples reach it
    assert shown(sometimes, 0.4) == f"0.358 [{sometimes.low:.3g}, > 0.4]"
    assert sometimes.scaled(2.0).mean == pytest.approx(2 * sometimes.mean)
