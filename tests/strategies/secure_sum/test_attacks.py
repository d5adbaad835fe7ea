"""What a server, a member or a client can try: refused, or without effect on the others."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from parties import N, hosts, session, settings, sum_of, vectors

from qmoe_fed.federated.rules import TooFewClients
from strategies.secure_sum import clients, field, keys, local, members, server
from strategies.secure_sum.clients import Memory
from strategies.secure_sum.wire import Refused, id_bytes

ALL = list(range(N))


@pytest.fixture(scope="module")
def parties():
    return hosts()


@pytest.fixture(autouse=True)
def _forget(parties):
    for host in parties:
        host.memory = Memory()


def changing(phase, change, at=ALL):
    """Return the way on which a phase's messages to or from some hosts are changed."""
    return lambda now, host, wire: change(wire) if now == phase and host in at else wire


def flipped(name, bit=0):
    def change(wire):
        raw = bytearray(wire[name])
        raw[bit // 8] ^= 1 << bit % 8
        return {**wire, name: bytes(raw)}

    return change


def survivors_with(parties, carry, now=None):
    """Run an attempt that must give the exact sum of whoever survives; return these."""
    integers = vectors()
    survivors, total = local.attempt(parties, now or session(), integers, carry)
    assert total.tolist() == sum_of(integers, survivors)
    return survivors


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
    carry = changing("to sums", lambda wire: {})
    assert survivors_with(parties, carry, session(malicious=False)) == ALL


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


def test_a_client_given_other_parameters_is_not_in_the_sum(parties):
    integers, wires = vectors(), []
    for host in parties:
        own = host.clients
        seen = session(parameters=b"for 3 only" if own == [3] else b"the same")
        values = {client: integers[client] for client in own}
        wires.append(clients.share(host.party, seen, values, host.memory)[0])
        host.memory = Memory()
    carry = lambda phase, host, wire: wires[host] if phase == "shares" else wire  # noqa: E731
    assert survivors_with(parties, carry) == [0, 1, 2, 4, 5, 6, 7]


@pytest.mark.parametrize(
    "changes", [{"threshold": 7}, {"least": 7}, {"malicious": False}, {"run": "b"}]
)
def test_the_clients_own_settings_count_and_not_the_others(parties, changes):
    wire, _ = clients.share(parties[3].party, session(**changes), vectors([3]), Memory())
    assert 3 not in survivors_with(parties, changing("shares", lambda _: wire, at=[3]))


def test_replayed_shares_are_not_in_the_sum(parties):
    old = {}
    survivors_with(parties, lambda phase, host, wire: old.setdefault((phase, host), wire))

    def carry(phase, host, wire):
        return old[phase, host] if phase == "shares" and host in (1, 6) else wire

    assert survivors_with(parties, carry, session(2)) == [0, 2, 3, 4, 5, 7]


@pytest.mark.parametrize("name", ["boxes", "nonces"])
def test_a_flipped_bit_costs_the_client_its_place(parties, name):
    assert survivors_with(parties, changing("shares", flipped(name), at=[4])) == [
        0, 1, 2, 3, 5, 6, 7,
    ]  # fmt: skip


def test_boxes_for_another_member_or_from_another_client_cannot_be_read(parties):
    size = session().settings.box

    def swapped(wire):
        boxes = wire["boxes"]
        return {**wire, "boxes": boxes[size : 2 * size] + boxes[:size] + boxes[2 * size :]}

    assert survivors_with(parties, changing("shares", swapped, at=[2])) == [0, 1, 3, 4, 5, 6, 7]
    # a server that swaps what two clients sent to one member loses that member only
    assert survivors_with(parties, changing("to report", swapped, at=[2]), session(2)) == [
        2, 3, 4, 5, 6, 7,
    ]  # fmt: skip


def test_a_client_cannot_speak_for_another(parties):
    def as_client_5(wire):
        return {**wire, "clients": id_bytes([5])}

    carry = changing("shares", as_client_5, at=[4])
    assert survivors_with(parties, carry) == [0, 1, 2, 3, 5, 6, 7]


def test_members_that_read_nothing_do_not_stop_the_round(parties):
    nothing = changing("report", lambda wire: {**wire, "readable": b"\0"}, at=[1, 5])
    assert survivors_with(parties, nothing) == ALL
    three = changing("report", lambda wire: {**wire, "readable": b"\0"}, at=[1, 4, 5])
    with pytest.raises(TooFewClients, match="shares of 0 clients could be read by 6 members"):
        local.attempt(parties, session(2), vectors(), three)


def test_false_sums_and_false_shares_are_noticed(parties):
    with pytest.raises(Refused, match="do not fit each other: a client or a member cheats"):
        local.attempt(parties, session(), vectors(), changing("sums", flipped("sums"), at=[3]))

    def one_of_six(phase, host, wire):
        if phase == "sums":
            return None if host in (6, 7) else flipped("sums", 40)(wire) if host == 3 else wire
        return wire

    with pytest.raises(Refused, match="8 clients cannot have sent this sum"):
        local.attempt(parties, session(2), vectors(), one_of_six)


def test_shares_that_are_no_elements_of_the_field_count_as_unreadable(parties, monkeypatch):
    over = np.full((1, N, 3), field.PRIME, dtype=np.uint64)
    monkeypatch.setattr(field, "shares", lambda *_: over)
    wire, _ = clients.share(parties[3].party, session(), vectors([3]), Memory())
    monkeypatch.undo()
    assert 3 not in survivors_with(parties, changing("shares", lambda _: wire, at=[3]))


def test_strangers_on_the_committee_are_refused(parties):
    now = session(members=4, threshold=3)
    stranger = next(client for client in ALL if client not in now.committee)
    assert session().settings.committee(1) != now.committee
    report = {"members": id_bytes([stranger]), "readable": b"\xff"}
    with pytest.raises(Refused, match="who have no part in it there"):
        server.join(now, "report", [report], senders=N)
    seated = {"members": id_bytes([0]), "senders": id_bytes([1, 2]), "nonces": b"", "boxes": b""}
    with pytest.raises(Refused, match="1 members and 2 senders, but other shares"):
        members.receive(parties[0].party, session(), seated)
    delivery = {"members": id_bytes([stranger]), "senders": b"", "nonces": b"", "boxes": b""}
    with pytest.raises(Refused, match="not members of the committee here"):
        members.receive(parties[stranger].party, now, delivery)


def swapped_keys(wire):
    return {**wire, "publics": wire["publics"][32:64] + wire["publics"][:32] + wire["publics"][64:]}


@pytest.mark.parametrize(
    "change", [swapped_keys, flipped("publics"), flipped("signatures"), flipped("clients", 33)]
)
def test_keys_that_their_owner_did_not_sign_are_refused(change):
    identities = keys.new_identities([0, 1, 2])
    roster = keys.roster_of(identities)
    _, wire = keys.start(identities, roster, "a")
    assert set(keys.read_keys(wire, roster, "a")) == {0, 1, 2}
    with pytest.raises(Refused, match=r"key of client . is not signed by it|ids below 3"):
        keys.read_keys(change(wire), roster, "a")
    with pytest.raises(Refused, match="is not signed by it for run 'b'"):
        keys.read_keys(wire, roster, "b")
    with pytest.raises(Refused, match="key of client 0"):
        keys.read_keys(wire, keys.roster_of(keys.new_identities([0, 1, 2])), "a")


def test_keys_of_strangers_and_half_a_message_are_refused():
    identities = keys.new_identities([0, 1, 2])
    roster = keys.roster_of(identities)
    _, wire = keys.start(identities, roster, "a")
    known = {client: roster[client] for client in (0, 2)}
    with pytest.raises(Refused, match="key of client 1 is not signed by it"):
        keys.read_keys(wire, known, "a")
    with pytest.raises(Refused, match="3 clients with 2 keys"):
        keys.read_keys({**wire, "publics": wire["publics"][:64]}, roster, "a")


def test_what_a_client_sends_is_never_twice_the_same(parties):
    party, zeros = parties[0].party, lambda size: bytes(size)
    sent = [clients.share(party, session(), vectors([0]), Memory(), zeros)[0] for _ in range(2)]
    assert sent[0]["nonces"] != sent[1]["nonces"]
    assert sent[0]["boxes"] != sent[1]["boxes"]


def test_nothing_secret_is_printed(parties):
    host, held = parties[0], []

    def carry(phase, number, wire):
        if (phase, number) == ("to report", 0):
            held.append(members.receive(host.party, session(), wire)[1])
        return wire

    survivors_with(parties, carry)
    assert "_agreed" not in repr(host)
    assert "PrivateKey" not in repr(host)
    assert "shares" not in repr(held[0])


def test_a_key_that_agrees_with_everyone_is_refused(monkeypatch):
    identities = keys.new_identities([0])
    public = bytes(32)  # a point of low order
    signature = identities[0].sign(keys._introduction("a", 0, public))
    wire = {"clients": id_bytes([0]), "publics": public, "signatures": signature}
    with pytest.raises(Refused, match="client 0 introduces itself with a key that is none"):
        keys.read_keys(wire, keys.roster_of(identities), "a")


def test_every_pair_and_direction_has_its_own_key(parties):
    seen = {}
    committee = settings().committee(1)
    for host in parties:
        to, of = host.party.agreed(committee)
        for sender, row in to.items():
            for receiver, key in row.items():
                assert seen.setdefault((sender, receiver), key) == key
        for receiver, row in of.items():
            for sender, key in row.items():
                assert seen.setdefault((sender, receiver), key) == key
    assert len(set(seen.values())) == len(seen) == N * N


@given(
    st.sampled_from(["shares", "to report", "report", "to echo", "echo", "to sums", "sums"]),
    st.integers(0, N - 1),
    st.integers(0, 5),
    st.integers(0, 10**6),
    st.sampled_from(["flip", "cut", "drop", "type"]),
)
@hypothesis_settings(max_examples=60, deadline=None)
def test_whatever_is_changed_the_sum_is_exact_or_refused(parties, phase, at, entry, bit, how):
    for host in parties:
        host.memory = Memory()

    def change(wire):
        name = sorted(wire)[entry % len(wire)]
        if how == "flip":
            return flipped(name, bit % (8 * len(wire[name])))(wire)
        if how == "cut":
            return {**wire, name: wire[name][: bit % len(wire[name])]}
        rest = {other: value for other, value in wire.items() if other != name}
        return rest if how == "drop" else {**rest, name: 7}

    integers = vectors()
    try:
        survivors, total = local.attempt(
            parties, session(), integers, changing(phase, change, [at])
        )
    except (Refused, TooFewClients):
        return
    assert len(survivors) >= 6
    assert total.tolist() == sum_of(integers, survivors)
