"""A host as bytes: keys, memory and what it holds between two phases, for whoever keeps it."""

from functools import lru_cache

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from qmoe_fed.federated.hidden import Refused, Wire
from strategies.secure_sum.clients import Memory
from strategies.secure_sum.hosts import Host
from strategies.secure_sum.keys import KEY, Party
from strategies.secure_sum.members import Held, Listed
from strategies.secure_sum.settings import Session
from strategies.secure_sum.wire import id_bytes, ids_of

NUMBERS = 5  # that a memory consists of


def stored(host: Host) -> Wire:
    """Return what a host holds, memory and secrets of the phase, as numbers and bytes."""
    memory, held = host.memory, host.held
    numbers = [*memory.shared, *memory.listed, memory.opened]
    wire: Wire = {"memory": np.array(numbers, dtype="<i8").tobytes()}
    if held is None:
        return wire
    wire["members"] = id_bytes(held.members)
    if isinstance(held, Listed):
        return {**wire, "survivors": id_bytes(held.survivors), "sums": held.sums.tobytes()}
    wire |= {"senders": id_bytes(held.senders), "shares": held.shares.tobytes()}
    return {**wire, "readable": held.readable.tobytes()}


def restored(party: Party, session: Session, wire: Wire) -> Host:
    """Return the host that was stored; undoes ``stored``."""
    size, clients = session.settings.size, session.settings.clients
    numbers = np.frombuffer(_raw(wire, "memory") or bytes(8 * NUMBERS), dtype="<i8").tolist()
    host = Host(party, Memory((numbers[0], numbers[1]), (numbers[2], numbers[3]), numbers[4]))
    if "survivors" in wire:
        sums = np.frombuffer(_raw(wire, "sums"), dtype="<u8").reshape(-1, size)
        able, survivors = (ids_of(wire, name, clients) for name in ("members", "survivors"))
        host.held = Listed(session, able, survivors, sums)
    elif "senders" in wire:
        here, senders = (ids_of(wire, name, clients) for name in ("members", "senders"))
        shape = len(here), len(senders)
        shares = np.frombuffer(_raw(wire, "shares"), dtype="<u8").reshape(*shape, size)
        readable = np.frombuffer(_raw(wire, "readable"), dtype=bool).reshape(shape)
        host.held = Held(session, here, senders, shares, readable)
    return host


def _raw(wire: Wire, name: str) -> bytes:
    raw = wire.get(name, b"")
    return raw if isinstance(raw, bytes) else b""


def keys_of(party: Party) -> Wire:
    """Return a host's keys and whom it knows, for ``party_of``."""
    publics = dict(sorted(party.publics.items()))
    roster = dict(sorted(party.roster.items()))
    return {
        "clients": id_bytes(party.clients),
        "signing": b"".join(party.signing[c].private_bytes_raw() for c in party.clients),
        "agreement": b"".join(party.agreement[c].private_bytes_raw() for c in party.clients),
        "known": id_bytes([*roster]),
        "roster": b"".join(roster.values()),
        "met": id_bytes([*publics]),
        "publics": b"".join(publics.values()),
    }


def party_of(run: str, wire: Wire) -> Party:
    """Return a host from its keys; what it agrees on with others is worked out once per process.

    Raises:
        Refused: It has no keys: it was not there when all met, or has started anew since.
    """
    names = ("clients", "signing", "agreement", "known", "roster", "met", "publics")
    if not wire.keys() >= set(names):
        raise Refused("this host has no keys: it was not there when all met, or started anew since")
    return _party(run, *(_raw(wire, name) for name in names))


@lru_cache(maxsize=64)
def _party(
    run: str,
    clients: bytes,
    signing: bytes,
    agreement: bytes,
    known: bytes,
    roster: bytes,
    met: bytes,
    publics: bytes,
) -> Party:
    def by_id(ids: bytes, keys: bytes) -> dict[int, bytes]:
        rows = [keys[at : at + KEY] for at in range(0, len(keys), KEY)]
        return dict(zip(np.frombuffer(ids, dtype="<u4").tolist(), rows, strict=True))

    own = by_id(clients, signing).items()
    agreed = by_id(clients, agreement).items()
    return Party(
        run,
        {client: Ed25519PrivateKey.from_private_bytes(raw) for client, raw in own},
        {client: X25519PrivateKey.from_private_bytes(raw) for client, raw in agreed},
        by_id(known, roster),
        by_id(met, publics),
    )
