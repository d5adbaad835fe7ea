import pytest
from parties import N, flipped, settings

from qmoe_fed.federated.hidden import Refused
from strategies.secure_sum import keys
from strategies.secure_sum.wire import id_bytes


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


def test_a_key_that_agrees_with_everyone_is_refused(monkeypatch):
    identities = keys.new_identities([0])
    public = bytes(32)  # a point of low order
    signature = identities[0].sign(keys._introduction("a", 0, public))
    wire = {"clients": id_bytes([0]), "publics": public, "signatures": signature}
    with pytest.raises(Refused, match="client 0 introduces itself with a key that is none"):
        keys.read_keys(wire, keys.roster_of(identities), "a")


def test_every_pair_and_direction_has_its_own_key(parties):
    seen = {}
    committee = settings().committee
    for host in parties:
        to, of = host.party.agreed(committee)
        for sender, row in to.items():
            for receiver, key in row.items():
                assert seen.setdefault((sender, receiver), key) == key
        for receiver, row in of.items():
            for sender, key in row.items():
                assert seen.setdefault((sender, receiver), key) == key
    assert len(set(seen.values())) == len(seen) == N * N
