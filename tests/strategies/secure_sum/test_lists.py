"""What a server can try with lists of survivors, and by asking twice."""

from dataclasses import replace

import pytest
from parties import ALL, N, changing, session, survivors_with, vectors

from qmoe_fed.federated.hidden import Refused
from qmoe_fed.federated.rules import TooFewClients
from strategies.secure_sum import clients, local, members
from strategies.secure_sum.clients import Memory
from strategies.secure_sum.wire import id_bytes


def listing(*ids):
    return lambda wire: {"survivors": id_bytes(ids)}


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        ([0, 1, 2, 3, 4, 5, 5], "none named twice"),
        ([1, 0, 2, 3, 4, 5, 6], "ascending"),
        ([0, 1, 2, 3, 4, 8], "ids below 8"),
        ([0, 1, 2, 3, 4], "a list of 5 survivors, expected at least 6"),
        ([], "a list of 0 survivors"),
    ],
)
def test_overlapping_and_shrunken_lists_are_refused(parties, ids, message):
    with pytest.raises(TooFewClients, match=message):
        local.attempt(parties, session(), vectors(), changing("to echo", listing(*ids)))
    assert all(host.memory.opened == 0 for host in parties)


def test_a_list_with_clients_that_sent_nothing_is_refused(parties):
    seven = vectors(range(7))
    with pytest.raises(TooFewClients, match=r"survivors \[7\] have sent nothing"):
        local.attempt(parties, session(), seven, changing("to echo", listing(*ALL)))


def test_members_told_different_lists_open_nothing(parties):
    carry = changing("to echo", listing(0, 1, 2, 3, 4, 5, 6), at=[0, 1, 2, 3])
    with pytest.raises(
        TooFewClients, match=r"4 members have signed this list of survivors, .* 6: others"
    ):
        local.attempt(parties, session(), vectors(), carry)
    assert all(host.memory.opened == 0 for host in parties)


def test_one_member_told_another_list_stops_only_itself(parties):
    sent = []

    def carry(phase, host, wire):
        sent.append((phase, host))
        wire = listing(*range(7))(wire) if (phase, host) == ("to echo", 3) else wire
        return None if (phase, host) == ("to sums", 3) else wire

    assert survivors_with(parties, carry) == ALL
    assert ("sums", 3) not in sent


def test_signatures_count_once_and_only_from_members_under_this_list(parties):
    def keep(count, extra=lambda wire: {}):
        def change(wire):
            return {
                "members": wire["members"][: 4 * count],
                "signatures": wire["signatures"][: 64 * count],
                **extra(wire),
            }

        return changing("to sums", change)

    def again(wire):
        return {"members": id_bytes(ALL), "signatures": wire["signatures"][:64] * N}

    with pytest.raises(TooFewClients, match="5 members have signed"):
        local.attempt(parties, session(), vectors(), keep(5))
    with pytest.raises(TooFewClients, match="1 members have signed"):
        local.attempt(parties, session(2), vectors(), keep(N, again))
    old = []
    record = lambda phase, host, wire: (old.append(wire) if phase == "to sums" else None) or wire  # noqa: E731
    local.attempt(parties, session(3), vectors(), record)
    with pytest.raises(TooFewClients, match="0 members have signed"):
        local.attempt(parties, session(4), vectors(), keep(N, lambda _: old[0]))


def test_members_who_trust_the_server_need_no_signatures(parties):
    sent = set()
    carry = lambda phase, host, wire: sent.add(phase) or wire  # noqa: E731
    assert survivors_with(parties, carry, session(malicious=False)) == ALL
    assert sent == {f"{way}{p}" for way in ("to ", "") for p in ("shares", "report", "sums")}


def test_a_second_ask_is_refused_in_every_phase(parties):
    host, now, kept = parties[0], session(5, 2), {}

    def carry(phase, number, wire):
        if number == 0:
            kept[phase] = wire
        return wire

    before = host.memory
    survivors_with(parties, carry, now)
    assert host.memory == Memory((5, 2), (5, 2), 5)
    for again in (now, session(5, 1), session(4, 9)):
        with pytest.raises(Refused, match="already shared in round 5, attempt 2"):
            clients.share(host.party, again, vectors([0]), host.memory)
    _, held = members.receive(host.party, now, kept["to report"])
    with pytest.raises(Refused, match="already agreed to in round 5, attempt 2"):
        members.agree(host.party, held, kept["to echo"], host.memory)
    with pytest.raises(Refused, match="the sum of round 5 was opened"):
        members.agree(host.party, held, kept["to echo"], Memory(opened=5))
    _, listed, memory = members.agree(host.party, held, kept["to echo"], before)
    with pytest.raises(Refused, match="the sum of round 5 was opened"):
        members.release(host.party, listed, kept["to sums"], replace(memory, opened=5))
