"""Whole attempts: what comes out, and what becomes of clients that are late or dead."""

import itertools
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from parties import ALL, N, hosts, session, sum_of, vectors

from qmoe_fed.federated.rules import TooFewClients
from strategies.secure_sum import local, members
from strategies.secure_sum.clients import Memory
from strategies.secure_sum.fixed_point import Block, dequantise, quantise
from strategies.secure_sum.settings import Session, Settings


def losing(lost):
    """Return the way on which some hosts' messages are lost: {phase: hosts}."""
    return lambda phase, host, wire: None if host in lost.get(phase, ()) else wire


def test_the_sum_of_all_is_exact(parties):
    integers = vectors()
    assert local.attempt(parties, session(), integers)[0] == ALL
    survivors, total = local.attempt(parties, session(2), integers)
    assert (survivors, total.tolist()) == (ALL, sum_of(integers, ALL))


@pytest.mark.parametrize(
    "groups", [[ALL], [[0, 3, 6], [1, 4, 7], [2, 5]], [[7, 1], [0, 2, 3, 4, 5, 6]]]
)
@pytest.mark.parametrize("malicious", [False, True])
def test_hosts_change_nothing(groups, malicious):
    integers = vectors(seed=1)
    now = session(malicious=malicious)
    survivors, total = local.attempt(hosts(groups), now, integers)
    assert (survivors, total.tolist()) == (ALL, sum_of(integers, ALL))


def test_a_committee_of_some_of_the_clients(parties):
    now = session(members=4, threshold=3)
    assert set(now.committee) < set(ALL)
    rest = [client for client in ALL if client not in now.committee]
    integers = vectors()
    _, total = local.attempt(parties, now, integers, losing({"to echo": rest, "sums": rest}))
    assert total.tolist() == sum_of(integers, ALL)


def test_clients_that_did_not_train_still_serve(parties):
    integers = vectors([1, 2, 3, 4, 6, 7])
    survivors, total = local.attempt(parties, session(), integers)
    assert survivors == [1, 2, 3, 4, 6, 7]
    assert total.tolist() == sum_of(integers, survivors)


PHASES = ("shares", "to report", "report", "to echo", "echo", "to sums", "sums")


@pytest.mark.parametrize("phase", PHASES)
def test_at_the_threshold_the_sum_is_exact_and_one_below_the_round_is_lost(parties, phase):
    integers = vectors()
    survivors, total = local.attempt(parties, session(), integers, losing({phase: [2, 5]}))
    expected = [0, 1, 3, 4, 6, 7] if phase == "shares" else ALL
    assert (survivors, total.tolist()) == (expected, sum_of(integers, expected))
    with pytest.raises(TooFewClients, match="needed") as caught:
        local.attempt(parties, session(2), integers, losing({phase: [2, 5, 6]}))
    # without enough signatures it is the members that hold back
    assert ("5 members have signed" in str(caught.value)) == (phase in {"to echo", "echo"})


LOST = st.dictionaries(st.sampled_from(PHASES), st.sets(st.integers(0, N - 1), max_size=3))


@given(LOST, st.integers(0, 2**32))
@hypothesis_settings(max_examples=40, deadline=None)
def test_whoever_is_lost_the_sum_is_exact_or_not_opened(acquainted, lost, seed):
    for host in acquainted:
        host.memory = Memory()
    values = np.random.default_rng(seed).normal(0, 1, (N, 3))
    now = session()
    integers = dict(enumerate(quantise(values, now.settings.blocks)))
    gone = set().union(*(lost.get(phase, set()) for phase in PHASES[1:]))
    there = [client for client in ALL if client not in lost.get("shares", set())]
    try:
        survivors, total = local.attempt(acquainted, now, integers, losing(lost))
    except TooFewClients:
        assert len(there) < 6 or len(gone) > 2
        return
    assert survivors == there
    assert total.tolist() == sum_of(integers, there)
    exact = np.stack([v * min(1, 2 / np.linalg.norm(v)) for v in values[there]]).sum(0)
    assert np.abs(dequantise(total, now.settings.blocks) - exact).max() < len(there) * 2**-8


def test_an_attempt_that_failed_early_can_be_repeated(parties):
    integers = vectors()
    with pytest.raises(TooFewClients):
        local.attempt(parties, session(), integers, losing({"shares": [0, 1, 2]}))
    survivors, total = local.attempt(parties, session(1, 1), integers)
    assert (survivors, total.tolist()) == (ALL, sum_of(integers, ALL))


def test_once_sums_are_out_no_attempt_opens_another(parties):
    integers = vectors()
    local.attempt(parties, session(), integers)
    with pytest.raises(TooFewClients, match="the sum of round 1 was opened"):
        local.attempt(parties, session(1, 1), integers, losing({"shares": [3]}))
    assert local.attempt(parties, session(2), integers, losing({"shares": [3]}))[0] != ALL


@pytest.mark.parametrize("phase", PHASES)
def test_when_nobody_answers_the_round_is_lost(parties, phase):
    with pytest.raises(TooFewClients, match=r"secure-sum: .* needed"):
        local.attempt(parties, session(), vectors(), losing({phase: ALL}))
    with pytest.raises(TooFewClients, match="shares of 0 clients came"):
        local.attempt(parties, session(1, 1), {})


def test_a_client_without_a_key_is_left_out():
    groups = [[client] for client in range(N)]
    late = local.meet(groups, "a", absent=[2])
    integers = vectors()
    survivors, total = local.attempt(late, session(), integers)
    assert survivors == [0, 1, 3, 4, 5, 6, 7]
    assert total.tolist() == sum_of(integers, survivors)


def test_thousands_of_coordinates():
    size = 4000
    blocks = (Block(size - 1, 2.0, 16), Block(1, 10.0, 4))
    values = np.random.default_rng(3).normal(0, 0.01, (5, size))
    now = Session(Settings("r", 5, blocks, 5, 4, 4), 1, 0, b"")
    integers = quantise(values, blocks)
    parties = local.meet([range(5)], "r")
    _, total = local.attempt(parties, now, dict(enumerate(integers)))
    assert total.tolist() == integers.sum(0).tolist()


def test_bytes_of_a_client(parties):
    sizes = {}

    def count(phase, host, wire):
        sizes[phase] = sum(len(v) if isinstance(v, bytes) else 8 for v in wire.values())
        return wire

    local.attempt(parties, session(), vectors(), count)
    box = 3 * 7 + 16
    assert sizes["shares"] == 4 + 12 + N * box
    assert sizes["to report"] == 4 + N * (4 + 12 + box)
    assert (sizes["report"], sizes["echo"], sizes["sums"]) == (4 + 1, 4 + 64, 4 + 21)


def view(host, values, coefficients):
    """Return what the server and member 0 see, for some randomness: 3 clients, p = 7."""
    now = Session(
        Settings("a", 3, (Block(1, 2.0**-9, 8),), 3, 2, 3, malicious=False, prime=7), 1, 0, b""
    )
    integers = {client: np.array([value]) for client, value in enumerate(values)}
    seen = []

    def carry(phase, _, wire):
        if phase == "to report":
            _, held = members.receive(host.party, now, wire)
            seen.extend(held.shares[0].ravel().tolist())
        if phase in {"report", "to echo", "sums"}:
            seen.append(tuple(wire.values()))
        return wire

    host.memory = Memory()
    raw = np.array(coefficients, dtype="<u8").tobytes()
    local.attempt([host], now, integers, carry, lambda _: raw)
    return tuple(seen)


def test_the_messages_show_server_and_a_member_the_sum_and_nothing_else():
    (host,) = local.meet([range(3)], "a")
    draws = list(itertools.product(range(7), repeat=3))
    seen = Counter(view(host, [0, 1, -1], draw) for draw in draws)
    assert len(seen) > 7
    assert Counter(view(host, [0, -1, 1], draw) for draw in draws) == seen
    assert view(host, [0, 1, 0], draws[0]) not in seen
