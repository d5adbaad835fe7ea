"""The server's half: it carries what it cannot read, lists survivors, and opens their sum.

All functions take the messages of hosts and are pure. What one message breaks, ``Refused``, a
caller can blame on its host: each reader here can be called with that host's message alone.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from qmoe_fed.federated.rules import TooFewClients
from strategies.secure_sum import field
from strategies.secure_sum.clients import NONCE
from strategies.secure_sum.fixed_point import columns
from strategies.secure_sum.keys import SIGNATURE
from strategies.secure_sum.settings import Session, Settings
from strategies.secure_sum.wire import Refused, Wire, entry, id_bytes, ids_of, joined


def join_shares(settings: Settings, wires: Sequence[Wire]) -> Wire:
    """Return the clients' messages as one.

    Raises:
        Refused: One is malformed, or two speak for the same client.
    """
    sizes = {"nonces": NONCE, "boxes": settings.members * settings.box}
    return joined(wires, sizes, "clients", settings.clients)


def deliver(session: Session, shares: Wire, members: Sequence[int]) -> Wire:
    """Return the message to a host with some members: the shares for them, from all clients.

    Args:
        session: The attempt.
        shares: From ``join_shares``.
        members: Ids of the committee's members on the host.
    """
    settings, ordered = session.settings, sorted(members)
    boxes = entry(shares, "boxes", settings.box).reshape(-1, settings.members, settings.box)
    places = [session.committee.index(member) for member in ordered]
    return {
        "members": id_bytes(ordered),
        "senders": shares["clients"],
        "nonces": shares["nonces"],
        "boxes": boxes[:, places].swapaxes(0, 1).tobytes(),
    }


def survivors(session: Session, shares: Wire, reports: Sequence[Wire]) -> Wire:
    """Return the list of survivors: clients whose shares all of as many members as can be hold.

    Members that read the fewest are left out as long as the list would be too short with them, so
    that neither a client with a few bad shares nor a member that reads nothing stops the round.

    Args:
        session: The attempt.
        shares: From ``join_shares``.
        reports: From ``members.receive``.

    Raises:
        TooFewClients: There is no such list; nothing has been revealed.
        Refused: A report is malformed.
    """
    settings = session.settings
    senders = ids_of(shares, "clients", settings.clients)
    sizes = {"readable": -(-len(senders) // 8)} if senders else {}
    report = joined(reports, sizes, "members", settings.clients)
    members = ids_of(report, "members", settings.clients)
    if strangers := set(members) - set(session.committee):
        raise Refused(f"clients {sorted(strangers)} are not on the committee")
    if len(members) < settings.threshold or not senders:
        raise TooFewClients(
            f"secure-sum: {len(members)} members of the committee and {len(senders)} clients "
            f"answered; {settings.threshold} and {settings.least} are needed"
        )
    bits = entry(report, "readable", sizes["readable"])
    readable = np.unpackbits(bits, axis=1, count=len(senders)).astype(bool)
    ranked = readable[np.argsort(-readable.sum(1), kind="stable")]
    by_all = np.logical_and.accumulate(ranked, axis=0)  # row r: read by the r + 1 best members
    enough = by_all.sum(1) >= settings.least
    if not enough[settings.threshold - 1]:
        raise TooFewClients(
            f"secure-sum: shares of {by_all[settings.threshold - 1].sum()} clients reached enough "
            f"members of the committee; {settings.least} are needed"
        )
    listed = by_all[np.flatnonzero(enough)[-1]]
    return {"survivors": id_bytes(np.array(senders)[listed].tolist())}


def join_echoes(session: Session, echoes: Sequence[Wire]) -> Wire:
    """Return the signatures under the list as one message to all hosts with members."""
    return joined(echoes, {"signatures": SIGNATURE}, "members", session.settings.clients)


def open_sum(session: Session, listed: Wire, releases: Sequence[Wire]) -> NDArray[np.int64]:
    """Return the sum ``(d,)`` of the survivors' integers.

    Args:
        session: The attempt.
        listed: From ``survivors``.
        releases: From ``members.release``.

    Raises:
        TooFewClients: Fewer members than the threshold have answered; what they sent reveals
            nothing.
        Refused: The answers do not fit each other, or what comes out is more than the survivors
            may have sent: a client's shares, or a member's sums, are false.
    """
    settings, prime = session.settings, session.settings.prime
    size = settings.size * field.width(prime)
    wire = joined(releases, {"sums": size}, "members", settings.clients)
    members = ids_of(wire, "members", settings.clients)
    if strangers := set(members) - set(session.committee):
        raise Refused(f"clients {sorted(strangers)} are not on the committee")
    if len(members) < settings.threshold:
        raise TooFewClients(
            f"secure-sum: {len(members)} members of the committee sent their sums, "
            f"{settings.threshold} are needed"
        )
    sums = field.from_bytes(entry(wire, "sums", size), prime)
    points = [session.committee.index(member) + 1 for member in members]
    try:
        result = field.to_signed(field.interpolate(points, sums, settings.threshold, prime), prime)
    except ValueError as error:
        raise Refused(f"secure-sum: {error}: a client or a member cheats") from error
    number = len(ids_of(listed, "survivors", settings.clients))
    if (np.abs(result) > columns(settings.blocks, number)).any():
        raise Refused(f"secure-sum: {number} clients cannot have sent this sum: someone cheats")
    return result
