"""The committee's half: members read shares, agree on who survived, and add."""

import dataclasses
import hashlib
from dataclasses import dataclass, replace

import numpy as np
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from numpy.typing import NDArray

from qmoe_fed.federated.hidden import Refused, Wire
from strategies.secure_sum import field
from strategies.secure_sum.clients import Memory
from strategies.secure_sum.keys import SIGNATURE, Party, is_signed
from strategies.secure_sum.settings import LABEL, NONCE, TAG, Session
from strategies.secure_sum.wire import entry, id_bytes, ids_of


@dataclass(frozen=True, eq=False)
class Held:
    """The shares that a host's members have read in an attempt: secret, and not kept beyond it.

    Attributes:
        session: The attempt, as this host sees it.
        members: Ids of the members here, ascending.
        senders: Ids of the s clients whose shares came, ascending.
        shares: Shape ``(members, s, d)``.
        readable: Which of them could be read, ``(members, s)``.
    """

    session: Session
    members: list[int]
    senders: list[int]
    shares: field.Elements = dataclasses.field(repr=False)
    readable: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Listed:
    """The list of survivors that a host's members will open a sum for, if it is everyone's.

    Attributes:
        session: The attempt, as this host sees it.
        members: Ids of those that hold all survivors' shares, ascending.
        survivors: Ids, ascending.
        sums: Of the survivors' shares, ``(members, d)``.
    """

    session: Session
    members: list[int]
    survivors: list[int]
    sums: field.Elements = dataclasses.field(repr=False)

    @property
    def statement(self) -> bytes:
        """What a member signs."""
        named = hashlib.sha256(id_bytes(self.survivors)).digest()
        return LABEL + b" list" + self.session.tag + named


def receive(party: Party, session: Session, wire: Wire) -> tuple[Wire, Held]:
    """Read the shares for a host's members; tell the server which could be read.

    A share that was changed on its way, replayed, made under other settings or for other global
    parameters cannot be read; neither can one by a client without a key.

    Args:
        party: The host.
        session: The attempt, as this host sees it.
        wire: From ``server.deliver``.

    Raises:
        Refused: The message is malformed, or not for members here.
    """
    settings, (_, keys) = session.settings, party.agreed(session.committee)
    members = ids_of(wire, "members", settings.clients)
    senders = ids_of(wire, "senders", settings.clients)
    if strangers := set(members) - set(session.committee) & set(party.clients):
        raise Refused(f"clients {sorted(strangers)} are not members of the committee here")
    nonces = entry(wire, "nonces", NONCE).tobytes()
    boxes = entry(wire, "boxes", settings.box).tobytes()
    count, size = len(members) * len(senders), settings.box
    if len(nonces) != NONCE * len(senders) or len(boxes) != size * count:
        raise Refused(f"{len(members)} members and {len(senders)} senders, but other shares")
    readable = np.ones((len(members), len(senders)), dtype=bool)
    heads = [
        (j, sender, nonces[NONCE * j : NONCE * (j + 1)], session.tag + id_bytes([sender]))
        for j, sender in enumerate(senders)
    ]
    plain, nothing, at = [], bytes(size - TAG), 0
    for i, member in enumerate(members):
        own, tail = keys.get(member, {}), id_bytes([member])
        for j, sender, nonce, head in heads:
            box = boxes[at : at + size]
            at += size
            try:
                plain.append(AESGCM(own[sender]).decrypt(nonce, box, head + tail))
            except (InvalidTag, KeyError):
                readable[i, j] = False
                plain.append(nothing)
    raw = np.frombuffer(b"".join(plain), dtype=np.uint8)
    shares = field.from_bytes(raw.reshape(*readable.shape, size - TAG), settings.prime)
    readable &= (shares < settings.prime).all(-1)
    bits = np.packbits(readable, axis=1).tobytes()
    report: Wire = {"members": id_bytes(members), "readable": bits}
    return report, Held(session, members, senders, shares, readable)


def agree(party: Party, held: Held, wire: Wire, memory: Memory) -> tuple[Wire, Listed, Memory]:
    """Check a list of survivors, once per attempt, and sign it for the members that hold it all.

    Args:
        party: The host.
        held: From ``receive``.
        wire: From ``server.survivors``.
        memory: As for ``clients.share``.

    Raises:
        Refused: The list is shorter than this host's settings allow, names someone twice or who
            sent nothing that can be read here, or comes after another one.
    """
    session, settings = held.session, held.session.settings
    survivors = ids_of(wire, "survivors", settings.clients)
    if session.number <= memory.listed:
        raise Refused(
            f"round {session.round}, attempt {session.attempt}: a list of survivors was already "
            f"agreed to in round {memory.listed[0]}, attempt {memory.listed[1]}"
        )
    if session.round <= memory.opened:
        raise Refused(f"round {session.round}: the sum of round {memory.opened} was opened")
    if len(survivors) < settings.least:
        raise Refused(f"a list of {len(survivors)} survivors, expected at least {settings.least}")
    if strangers := set(survivors) - set(held.senders):
        raise Refused(f"survivors {sorted(strangers)} have sent nothing")
    among = np.isin(held.senders, survivors)
    able = [m for m, row in zip(held.members, held.readable, strict=True) if row[among].all()]
    if not able:
        raise Refused("the list names survivors whose shares no member here can read")
    rows = [held.members.index(member) for member in able]
    sums = np.stack([field.total(held.shares[row, among], settings.prime) for row in rows])
    listed = Listed(session, able, survivors, sums)
    signatures = b"".join(party.signing[m].sign(listed.statement) for m in able)
    echo: Wire = {"members": id_bytes(able), "signatures": signatures}
    return echo, listed, replace(memory, listed=session.number)


def release(party: Party, listed: Listed, echoes: Wire, memory: Memory) -> tuple[Wire, Memory]:
    """Let out the sums of shares, once per round, if enough members have signed the same list.

    Args:
        party: The host.
        listed: From ``agree``.
        echoes: All echoes, joined; not looked at if this host's settings trust the server to send
            everyone the same list.
        memory: As for ``clients.share``.

    Raises:
        Refused: Signatures are missing, or a sum of this round was opened before.
    """
    session, settings = listed.session, listed.session.settings
    if session.round <= memory.opened:
        raise Refused(f"round {session.round}: the sum of round {memory.opened} was opened")
    if settings.malicious and (signed := _signers(party, listed, echoes)) < settings.threshold:
        raise Refused(
            f"{signed} members have signed this list of survivors, expected at least "
            f"{settings.threshold}: others were told another one, or are gone"
        )
    raw = field.to_bytes(listed.sums, settings.prime).tobytes()
    wire: Wire = {"members": id_bytes(listed.members), "sums": raw}
    return wire, replace(memory, opened=session.round)


def _signers(party: Party, listed: Listed, echoes: Wire) -> int:
    """Return how many different members have signed the list."""
    session = listed.session
    members = ids_of(echoes, "members", session.settings.clients)
    signatures = entry(echoes, "signatures", SIGNATURE)
    return sum(
        member in session.committee
        and is_signed(party.roster, member, signature.tobytes(), listed.statement)
        for member, signature in zip(members, signatures, strict=False)
    )
