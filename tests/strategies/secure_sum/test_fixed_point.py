import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qmoe_fed.errors import UserError
from strategies.secure_sum import local
from strategies.secure_sum.field import PRIME
from strategies.secure_sum.fixed_point import Block, clip_rows, dequantise, quantise
from strategies.secure_sum.settings import Session, Settings

HUGE = st.floats(-1e308, 1e308)


@given(st.lists(st.lists(HUGE, min_size=3, max_size=3), min_size=1, max_size=4), st.integers(0, 30))
def test_integers_are_within_one_of_the_clipped_values(rows, bits):
    values, blocks = np.array(rows), (Block(2, 1.5, bits), Block(1, 100.0, bits))
    integers = quantise(values, blocks)
    clipped = np.hstack([clip_rows(values[:, :2], 1.5), clip_rows(values[:, 2:], 100.0)])
    assert np.abs(integers - clipped * 2.0**bits).max() <= 1
    for column, block in ((slice(2), blocks[0]), (slice(2, 3), blocks[1])):
        assert np.abs(integers[:, column]).max() <= block.limit <= block.clip * 2.0**bits + 1
    assert np.linalg.norm(clipped[:, :2], axis=1).max() <= 1.5 * (1 + 1e-12)


def test_short_rows_are_not_touched_and_long_ones_keep_their_direction():
    rows = np.array([[0.3, -0.4], [3.0, -4.0], [3e200, -4e200], [0.0, 0.0]])
    assert clip_rows(rows, 1.0)[[0, 3]].tolist() == rows[[0, 3]].tolist()
    assert clip_rows(rows, 1.0)[1:3] == pytest.approx(np.array([[0.6, -0.8]] * 2), rel=1e-15)


def test_rounding_is_unbiased_and_leaves_whole_numbers():
    assert quantise(np.array([[0.5, -0.25, 3.0]]), (Block(3, 9.0, 2),)).tolist() == [[2, -1, 12]]
    draws = quantise(np.full((20_000, 1), -0.3), (Block(1, 1.0, 0),))
    assert set(draws.ravel().tolist()) == {-1, 0}
    assert draws.mean() == pytest.approx(-0.3, abs=5 * math.sqrt(0.21 / 20_000))


def test_numbers_that_are_none_are_refused():
    for bad in (math.nan, math.inf):
        with pytest.raises(ValueError, match="not finite"):
            quantise(np.array([[bad]]), (Block(1, 1.0),))
    with pytest.raises(ValueError, match="2 coordinates, the blocks have 1"):
        quantise(np.zeros((1, 2)), (Block(1, 1.0),))


def test_sums_come_back_in_the_unit_of_each_block():
    blocks = (Block(2, 1.0, 10), Block(1, 50.0, 3))
    sums = quantise(np.array([[0.5, -0.25, 7.0], [0.5, 0.0, 40.125]]), blocks).sum(0)
    assert dequantise(sums, blocks).tolist() == [1.0, -0.25, 47.125]


def of(clients, **block):
    return Settings("r", clients, (Block(1, **block),), 2, 2, 2)


def test_a_sum_that_could_overflow_is_refused_before_the_start():
    # 8 · (2⁵² + 1) > p/2 = 2⁵⁵ - 2.5
    with pytest.raises(UserError, match=r"do not fit in a field .* take fewer bits"):
        of(8, clip=1.0, bits=52)
    of(7, clip=1.0, bits=52)
    of(8, clip=1.0, bits=51, noise=0.5)
    with pytest.raises(UserError, match=r"noise 0.75\)"):
        of(8, clip=1.0, bits=51, noise=0.75)


def test_the_largest_sums_are_exact():
    clients = 7
    settings = of(clients, clip=1.0, bits=52)
    limit = settings.blocks[0].limit
    assert clients * limit < PRIME / 2 < (clients + 1) * limit
    hosts = local.meet([range(clients)], "r")
    for number, sign in enumerate((1, -1), 1):
        session = Session(settings, number, 0, b"")
        integers = {client: np.array([sign * limit]) for client in range(clients)}
        assert local.attempt(hosts, session, integers)[1].tolist() == [sign * clients * limit]


def test_noise_has_room_beyond_the_clip_and_no_more():
    settings = of(7, clip=1.0, bits=4, noise=1.0)
    hosts, over = local.meet([range(7)], "r"), settings.blocks[0].largest(1)
    assert over == 17 + 12 * 16
    session = Session(settings, 1, 0, b"")
    integers = {client: np.array([0]) for client in range(7)}
    with pytest.raises(ValueError, match="exceed what its blocks allow"):
        local.attempt(hosts, session, {**integers, 3: np.array([over + 1])})
    assert local.attempt(hosts, session, {**integers, 3: np.array([over])})[1] == over


def test_rounding_takes_its_draws():
    values = np.full((1, 4), 0.5)
    never = quantise(values, (Block(4, 1.0, 0),), np.full((1, 4), 1 - 2**-53))
    always = quantise(values, (Block(4, 1.0, 0),), np.zeros((1, 4)))
    assert never.tolist() == [[0] * 4]
    assert always.tolist() == [[1] * 4]
