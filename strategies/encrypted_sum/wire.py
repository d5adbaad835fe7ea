"""What travels: ciphertexts, and the key, past the server that carries it."""

import hashlib
import os
from collections.abc import Sequence

import numpy as np
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from qmoe_fed.federated.hidden import Refused, Wire
from strategies.secure_sum.keys import KEY, Party
from strategies.secure_sum.settings import NONCE, TAG
from strategies.secure_sum.wire import entry, id_bytes, ids_of

LABEL = b"qmoe-fed encrypted sum 1"


def hand_out(party: Party, maker: int, key: bytes) -> Wire:
    """Return a message from which each client that has introduced itself can read a key.

    Args:
        party: The maker's host, once all have met.
        maker: The client that made the key.
        key: It is encrypted once; what with, once for each client.
    """
    channels = party.agreed((maker,))[1].get(maker, {})
    once, wraps = AESGCM.generate_key(8 * KEY), []
    for client in sorted(channels):
        wraps.append(_sealed(channels[client], once, _bound(party, client)))
    box = _sealed(once, key, _bound(party, maker))
    return {"box": box, "clients": id_bytes(sorted(channels)), "wraps": b"".join(wraps)}


def take(party: Party, maker: int, wire: Wire) -> bytes:
    """Return the key that the maker has handed out.

    Raises:
        Refused: It is not for anyone here, or not from the maker.
    """
    wraps = entry(wire, "wraps", NONCE + KEY + TAG)
    clients, box = ids_of(wire, "clients", 2**32), raw(wire, "box")
    channels = party.agreed((maker,))[0]
    mine = next((c for c in clients if maker in channels.get(c, {})), None)
    if mine is None or len(wraps) != len(clients):
        raise Refused("the key is not for any client here")
    wrap = wraps[clients.index(mine)].tobytes()
    try:
        once = _opened(channels[mine][maker], wrap, _bound(party, mine))
        return _opened(once, box, _bound(party, maker))
    except InvalidTag as error:
        raise Refused(f"the key is not from client {maker}") from error


def name_of(wire: Wire) -> bytes:
    """Return what a handed out key is called: it says nothing about the key."""
    return hashlib.sha256(raw(wire, "box")).digest()


def raw(wire: Wire, name: str) -> bytes:
    """Return an entry; Refused if it is missing."""
    if not isinstance(value := wire.get(name), bytes):
        raise Refused(f"message without {name!r}")
    return value


def packed(vectors: Sequence[Sequence[bytes]]) -> Wire:
    """Return the ciphertexts of some vectors as a message."""
    parts = [part for vector in vectors for part in vector]
    return {"sizes": id_bytes([len(part) for part in parts]), "boxes": b"".join(parts)}


def unpacked(wire: Wire, count: int, each: int) -> list[list[bytes]]:
    """Return the ciphertexts of so many vectors; Refused if there are more or less."""
    sizes, boxes = entry(wire, "sizes", 4).view("<u4")[:, 0].tolist(), raw(wire, "boxes")
    if len(sizes) != count * each or sum(sizes) != len(boxes):
        raise Refused(f"{len(sizes)} ciphertexts, expected {each} for each of {count} vectors")
    ends = np.cumsum(sizes, dtype=np.int64).tolist()
    parts = [boxes[end - size : end] for size, end in zip(sizes, ends, strict=True)]
    return [parts[at : at + each] for at in range(0, len(parts), each)]


def _sealed(key: bytes, text: bytes, bound: bytes) -> bytes:
    nonce = os.urandom(NONCE)
    return nonce + AESGCM(key).encrypt(nonce, text, bound)


def _opened(key: bytes, box: bytes, bound: bytes) -> bytes:
    return AESGCM(key).decrypt(box[:NONCE], box[NONCE:], bound)


def _bound(party: Party, client: int) -> bytes:
    return LABEL + id_bytes([client]) + party.run.encode()
