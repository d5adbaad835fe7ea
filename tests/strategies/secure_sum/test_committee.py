from math import comb

import numpy as np
import pytest
from parties import session, settings

from qmoe_fed.errors import UserError
from qmoe_fed.federated.hidden import Refused
from strategies.secure_sum.parameters import committee_size, least_survivors
from strategies.secure_sum.settings import fingerprint

TABLE = {0.05: ((25, 14), (53, 36)), 0.1: ((33, 20), (69, 49)), 0.2: ((48, 32), (100, 75))}


def at_least(k, n, marked, m):
    """P[X ≥ k], X of m drawn from n being marked, exactly counted."""
    ways = sum(comb(marked, x) * comb(n - marked, m - x) for x in range(k, min(m, marked) + 1))
    return ways / comb(n, m)


@pytest.mark.parametrize("corrupt", TABLE)
@pytest.mark.parametrize("malicious", [False, True])
def test_committees_of_a_thousand(corrupt, malicious):
    m, t = committee_size(1000, corrupt, 0.1, malicious)
    assert (m, t) == TABLE[corrupt][malicious]
    bad, bound = round(1000 * corrupt), 2 * t - m if malicious else t
    assert at_least(bound, 1000, bad, m) <= 2**-40 < at_least(bound - 1, 1000, bad, m)
    assert at_least(m - t + 1, 1000, 100, m) <= 2**-20 < at_least(m - t, 1000, 100, m)


def test_committees_of_a_hundred_thousand_are_little_larger():
    assert committee_size(100_000, 0.1, 0.1, False)[0] == 35
    assert committee_size(100_000, 0.1, 0.1, True)[0] == 76


@pytest.mark.parametrize("clients", range(2, 21))
def test_few_clients_are_all_on_the_committee(clients):
    assert committee_size(clients, 0.0, 0.0, True) == (clients, clients)
    if clients >= 4:
        m, t = committee_size(clients, 0.1, 0.1, True)
        lost = bad = -(-clients // 10)
        assert (m, t) == (clients, clients - lost)
        assert bad < 2 * t - m


@pytest.mark.parametrize(
    ("clients", "corrupt", "dropouts", "malicious"),
    [(2, 0.0, 0.1, False), (3, 0.1, 0.1, True), (10, 0.5, 0.5, False), (1000, 0.2, 0.2, True)],
)
def test_what_no_committee_stands_is_refused(clients, corrupt, dropouts, malicious):
    with pytest.raises(UserError, match=f"no committee .* among {clients} clients"):
        committee_size(clients, corrupt, dropouts, malicious)


def test_a_sum_of_one_honest_client_is_refused():
    assert least_survivors(1000, 1000, 0.1, 0.1) == 900
    assert least_survivors(4, 4, 0.25, 0.25) == 3
    with pytest.raises(UserError, match="as few as 2 may be left, and 1 of these may be corrupt"):
        least_survivors(3, 3, 0.1, 0.1)
    with pytest.raises(UserError, match=r"of 100 clients in a round as few as 90 .* and 100 of"):
        least_survivors(100, 1000, 0.1, 0.1)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"threshold": 1}, "2 ≤ threshold"),
        ({"threshold": 9}, "threshold 9 of 8"),
        ({"members": 9}, "of 9 members out of 8 clients"),
        ({"threshold": 4}, "more than half"),
        ({"least": 1}, "expected 2 to 8"),
        ({"least": 9}, "expected 2 to 8"),
    ],
)
def test_settings_that_protect_nobody_are_refused(changes, message):
    with pytest.raises(UserError, match=message):
        settings(**changes)
    assert settings(threshold=4, malicious=False).threshold == 4


def test_the_committee_is_drawn_fairly_and_from_public_randomness():
    counts = np.zeros(8)
    for draw in range(2000):
        drawn = settings(members=3, threshold=2, run=str(draw)).committee
        assert len(set(drawn)) == 3
        counts[list(drawn)] += 1
    expected = 2000 * 3 / 8
    assert np.abs(counts - expected).max() < 5 * np.sqrt(expected * 5 / 8)


def test_a_committee_sits_for_all_rounds_and_attempts():
    drawn = [session(*number, members=4, threshold=3).committee for number in ((1, 0), (99, 7))]
    assert drawn[0] == drawn[1] == settings(members=4, threshold=3).committee


@pytest.mark.parametrize(("number", "attempt"), [(0, 0), (6, 0), (1, -1)])
def test_rounds_that_the_run_does_not_have_are_refused(number, attempt):
    assert session(5, rounds=5).number == (5, 0)
    with pytest.raises(Refused, match="expected a round from 1 to 5"):
        session(number, attempt, rounds=5)


def test_every_setting_and_number_is_bound_to_the_shares():
    base, tags = session(), set()
    changes = [{}, {"run": "b"}, {"threshold": 7}, {"members": 7}, {"least": 7}]
    tags |= {session(**change).tag for change in [*changes, {"blocks": base.settings.blocks * 2}]}
    tags |= {session(2).tag, session(1, 1).tag, session(parameters=b"others").tag}
    assert len(tags) == 9
    assert session().tag == base.tag


def test_global_parameters_have_a_fingerprint():
    theta = np.arange(6, dtype=np.float32)
    same = fingerprint({"b": theta, "a": theta[:2]})
    assert same == fingerprint({"a": theta[:2].copy(), "b": theta.copy()})
    others = [
        {"b": theta},
        {"b": theta, "c": theta[:2]},
        {"b": theta.reshape(2, 3), "a": theta[:2]},
    ]
    others += [{"b": theta + np.float32(1e-6), "a": theta[:2]}, {"b": theta, "a": theta[:2] + 0.0j}]
    assert same not in {fingerprint(other) for other in others}
