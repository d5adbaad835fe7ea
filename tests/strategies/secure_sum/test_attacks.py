"""What a server, a member or a client can try with shares and sums."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from parties import ALL, N, changing, flipped, session, sum_of, survivors_with, vectors

from qmoe_fed.federated.hidden import Refused
from qmoe_fed.federated.rules import TooFewClients
from strategies.secure_sum import clients, field, local, members, server
from strategies.secure_sum.clients import Memory
from strategies.secure_sum.wire import id_bytes


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
    assert session().settings.committee != now.committee
    report = {"members": id_bytes([stranger]), "readable": b"\xff"}
    with pytest.raises(Refused, match="who have no part in it there"):
        server.join(now, "report", [report], senders=N)
    seated = {"members": id_bytes([0]), "senders": id_bytes([1, 2]), "nonces": b"", "boxes": b""}
    with pytest.raises(Refused, match="1 members and 2 senders, but other shares"):
        members.receive(parties[0].party, session(), seated)
    delivery = {"members": id_bytes([stranger]), "senders": b"", "nonces": b"", "boxes": b""}
    with pytest.raises(Refused, match="not members of the committee here"):
        members.receive(parties[stranger].party, now, delivery)


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


@given(
    st.sampled_from(["shares", "to report", "report", "to echo", "echo", "to sums", "sums"]),
    st.integers(0, N - 1),
    st.integers(0, 5),
    st.integers(0, 10**6),
    st.sampled_from(["flip", "cut", "drop", "type"]),
)
@hypothesis_settings(max_examples=60, deadline=None)
def test_whatever_is_changed_the_sum_is_exact_or_refused(acquainted, phase, at, entry, bit, how):
    for host in acquainted:
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
            acquainted, session(), integers, changing(phase, change, [at])
        )
    except (Refused, TooFewClients):
        return
    assert len(survivors) >= 6
    assert total.tolist() == sum_of(integers, survivors)
