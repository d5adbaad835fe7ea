"""The key goes past the server that carries it."""

from dataclasses import replace

import pytest

from qmoe_fed.federated.hidden import Refused
from strategies.encrypted_sum import wire
from strategies.secure_sum import keys

KEY = bytes(range(256)) * 10
MAKER = 2


@pytest.fixture(scope="module")
def parties():
    """Hosts of clients 0, 2 and of 1, 3, 4; client 4 has not introduced itself."""
    started = [keys.start(keys.new_identities(group), {}, "run") for group in ([0, 2], [1, 3])]
    told = keys.join_keys([message for _, message in started], 4)
    return [keys.meet(party, told) for party, _ in started]


def test_all_who_have_met_read_the_key_and_nobody_else(parties):
    message = wire.hand_out(parties[0], MAKER, KEY)
    assert [wire.take(party, MAKER, message) for party in parties] == [KEY, KEY]
    assert not any(KEY[at : at + 16] in value for value in message.values() for at in (0, 1000))
    stranger, told = keys.start(keys.new_identities([5]), {}, "run")
    with pytest.raises(Refused, match="not for any client here"):
        wire.take(keys.meet(stranger, told), MAKER, message)
    assert wire.name_of(message) != wire.name_of(wire.hand_out(parties[0], MAKER, KEY))


def test_a_key_that_the_maker_did_not_send_is_refused(parties):
    message = wire.hand_out(parties[0], MAKER, KEY)
    other = replace(parties[1], run="another run", _agreed={})
    with pytest.raises(Refused, match="not from client 2"):
        wire.take(other, MAKER, message)
    for name in ("box", "wraps"):
        raw = bytearray(message[name])
        for at in (0, 60 + 3, len(raw) - 1):  # the wrap of client 1 begins at 60
            changed = bytes([*raw[:at], raw[at] ^ 1, *raw[at + 1 :]])
            if name == "box" or 60 <= at < 120:
                with pytest.raises(Refused, match="not from client 2"):
                    wire.take(parties[1], MAKER, {**message, name: changed})
    with pytest.raises(Refused, match="not for any client here"):
        wire.take(parties[1], MAKER, wire.hand_out(parties[1], MAKER, KEY))  # has no such client
    with pytest.raises(Refused, match="without 'box'"):
        wire.take(parties[1], MAKER, {"clients": b"", "wraps": b""})


def test_ciphertexts_travel_as_they_are():
    vectors = [[b"a", b"bcd"], [b"", b"ef"]]
    message = wire.packed(vectors)
    assert wire.unpacked(message, 2, 2) == vectors
    assert wire.unpacked(wire.packed([]), 0, 2) == []
    for count, each in ((2, 1), (1, 2), (3, 2)):
        with pytest.raises(Refused, match="4 ciphertexts, expected"):
            wire.unpacked(message, count, each)
    with pytest.raises(Refused, match="expected 2 for each"):
        wire.unpacked({**message, "boxes": b"abc"}, 2, 2)
