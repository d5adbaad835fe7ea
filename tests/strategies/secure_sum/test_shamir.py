import itertools
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from strategies.secure_sum import field
from strategies.secure_sum.field import PRIME


def shared(secrets, members, threshold, prime, coefficients):
    """Share with known randomness: one coefficient per client, ``(k,)``, or none."""
    raw = np.array(coefficients, dtype="<u8").tobytes()
    secrets = np.array(secrets, dtype=np.uint64)[:, None]
    return field.shares(secrets, members, threshold, prime, lambda size: raw[:size])[..., 0]


def views(secrets, threshold, prime=5):
    """Count what server and first member see over all randomness: 3 clients, 3 members.

    The member sees each client's share for it, the server the sums of all members.
    """
    seen = Counter()
    for coefficients in itertools.product(range(prime), repeat=3):
        parts = shared(secrets, 3, threshold, prime, coefficients)
        seen[(*parts[:, 0].tolist(), *field.total(parts, prime).tolist())] += 1
    return seen


def test_server_and_too_few_members_learn_the_sum_and_nothing_else():
    seen = views([1, 2, 4], threshold=2)
    assert sum(seen.values()) == 5**3
    for other in ([4, 2, 1], [0, 0, 2], [3, 3, 1]):
        assert views(other, threshold=2) == seen
    assert views([1, 2, 3], threshold=2) != seen


def test_without_sharing_they_learn_more():
    assert views([1, 2, 4], threshold=1) != views([4, 2, 1], threshold=1)


def test_shares_below_the_threshold_are_uniform():
    for secret in range(5):
        pairs = Counter()
        for a, b in itertools.product(range(5), repeat=2):
            pairs[tuple(shared([secret], 4, 3, 5, [a, b])[0, :2].tolist())] += 1
        assert set(pairs.values()) == {1}
        assert len(pairs) == 25


@given(st.integers(1, 6), st.integers(1, 4), st.integers(2, 9), st.data())
def test_any_threshold_of_the_shares_gives_the_sum(clients, size, members, data):
    threshold = data.draw(st.integers(2, members))
    element = st.integers(0, PRIME - 1)
    secrets = np.array(
        data.draw(st.lists(element, min_size=clients * size, max_size=clients * size)), np.uint64
    ).reshape(clients, size)
    parts = field.shares(secrets, members, threshold)
    assert (parts < PRIME).all()
    held = data.draw(st.permutations(range(members)))[: data.draw(st.integers(threshold, members))]
    sums = field.total(parts[:, held])
    points = [x + 1 for x in held]
    expected = [int(column) % PRIME for column in secrets.astype(object).sum(0)]
    assert field.interpolate(points, sums, threshold).tolist() == expected
    if len(held) > threshold:
        sums[-1, -1] = (sums[-1, -1] + np.uint64(1)) % np.uint64(PRIME)
        with pytest.raises(ValueError, match="do not fit"):
            field.interpolate(points, sums, threshold)
    with pytest.raises(ValueError, match="are needed"):
        field.interpolate(points[: threshold - 1], sums[: threshold - 1], threshold)


def test_no_step_overflows_at_the_largest_numbers():
    largest = np.full((1, 2), PRIME - 1, dtype=np.uint64)
    ones = np.full(2, PRIME - 1, dtype="<u8").tobytes()
    parts = field.shares(largest, 127, 100, source=lambda size: (ones * size)[:size])
    for x in (1, 126, 127):
        expected = sum((PRIME - 1) * pow(x, power, PRIME) for power in range(100)) % PRIME
        assert parts[0, x - 1].tolist() == [expected] * 2
    many = np.full((70_000, 1), PRIME - 1, dtype=np.uint64)
    assert field.total(many).tolist() == [(PRIME - 70_000) % PRIME]


def test_random_elements_are_uniform_below_p():
    batches = iter([[7, 6, 15, 0], [5, 3, 9], [12]])
    drawn = field.draw((4,), 5, lambda _: np.array(next(batches), "<u8").tobytes())
    assert drawn.tolist() == [4, 3, 1, 0]  # by their three lowest bits, drawn anew from 5 on


def test_shares_come_from_the_operating_system():
    np.random.seed(0)  # noqa: NPY002 must not matter
    secrets = np.zeros((1, 1), dtype=np.uint64)
    first = field.shares(secrets, 3, 2)
    np.random.seed(0)  # noqa: NPY002
    assert (field.shares(secrets, 3, 2) != first).all()


@given(st.lists(st.integers(-(PRIME // 2), PRIME // 2), min_size=1, max_size=5))
def test_signed_numbers_and_bytes_come_back(numbers):
    elements = field.from_signed(np.array(numbers))
    raw = field.to_bytes(elements)
    assert raw.size == 7 * len(numbers)
    assert field.to_signed(field.from_bytes(raw)).tolist() == numbers
