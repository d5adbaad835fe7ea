"""The clients' half: each shares its vector among the committee."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from numpy.typing import NDArray

from qmoe_fed.federated.hidden import Refused, Wire
from strategies.secure_sum import field
from strategies.secure_sum.fixed_point import columns
from strategies.secure_sum.keys import Party
from strategies.secure_sum.settings import NONCE, TAG, Session
from strategies.secure_sum.wire import id_bytes

_BLOCK = 1 << 22  # bytes of shares that exist in clear at a time


@dataclass(frozen=True)
class Memory:
    """What a host's clients have answered: a value that is handed in and out, and not secret.

    Who goes on without it can be asked again, and two answers can show what one must not.

    Attributes:
        shared: The last round and attempt in which they shared vectors.
        listed: The last round and attempt in which they agreed to a list of survivors.
        opened: The last round whose sum they helped to open.
    """

    shared: tuple[int, int] = (0, 0)
    listed: tuple[int, int] = (0, 0)
    opened: int = 0


def share(
    party: Party,
    session: Session,
    integers: Mapping[int, NDArray[np.int64]],
    memory: Memory,
    source: field.Source = os.urandom,
) -> tuple[Wire, Memory]:
    """Share the vectors of some of a host's clients, each share encrypted to its member.

    A share for a member that has not introduced itself is noughts.

    Args:
        party: The host.
        session: The attempt, as this host sees it.
        integers: By client, vectors ``(d,)`` as ``quantise`` makes them, with noise or not.
        memory: What was answered before; it comes back as it is from now on.
        source: Random bytes for the shares; the operating system's, except in tests.

    Raises:
        Refused: This round and attempt, or a later one, was answered before.
        ValueError: A number is so large that sums could overflow.
    """
    if session.number <= memory.shared:
        raise Refused(
            f"round {session.round}, attempt {session.attempt}: vectors were already shared in "
            f"round {memory.shared[0]}, attempt {memory.shared[1]}"
        )
    settings, committee = session.settings, session.committee
    clients, nbytes = sorted(integers), settings.box - TAG
    values = np.stack([integers[client] for client in clients])
    if (np.abs(values) > columns(settings.blocks, 1)).any():
        raise ValueError("a client's integers exceed what its blocks allow")
    keys, _ = party.agreed(committee)
    nonces = os.urandom(NONCE * len(clients))  # one per client: each member has its own key
    nothing, tails = bytes(settings.box), [id_bytes([member]) for member in committee]
    boxes: list[bytes] = []
    step = max(1, _BLOCK // (settings.members * nbytes))
    for start in range(0, len(clients), step):
        secrets = field.from_signed(values[start : start + step], settings.prime)
        parts = field.shares(secrets, settings.members, settings.threshold, settings.prime, source)
        raw, at = field.to_bytes(parts, settings.prime).tobytes(), 0
        for row, client in enumerate(clients[start : start + step], start):
            own = keys.get(client, {})
            head, nonce = session.tag + id_bytes([client]), nonces[NONCE * row : NONCE * (row + 1)]
            for member, tail in zip(committee, tails, strict=True):
                plain = raw[at : at + nbytes]
                at += nbytes
                key = own.get(member)
                box = AESGCM(key).encrypt(nonce, plain, head + tail) if key else nothing
                boxes.append(box)
    wire: Wire = {"clients": id_bytes(clients), "nonces": nonces, "boxes": b"".join(boxes)}
    return wire, replace(memory, shared=session.number)
