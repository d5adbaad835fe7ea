"""The server's half: it carries what it cannot read, lists survivors, and opens their sum.

Hosts answer with ``shares``, a ``report`` of what could be read, an ``echo`` of the list of
survivors, unless they trust the server to send everyone the same, and ``sums``. Each answer is
accepted or refused alone, then they are joined.
"""

from collections.abc import Collection, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from qmoe_fed.federated.hidden import Ask, Refused, Wire
from qmoe_fed.federated.rules import TooFewClients
from strategies.secure_sum import field
from strategies.secure_sum.fixed_point import columns
from strategies.secure_sum.keys import SIGNATURE
from strategies.secure_sum.settings import NONCE, TAG, Session
from strategies.secure_sum.wire import entry, id_bytes, ids_of, joined

TOLD = 3  # refusals, when a round is lost


def collect(
    session: Session,
    places: Mapping[int, Collection[int]],
    asked: Collection[int],
    ask: Ask,
    request: Wire | None = None,
) -> tuple[list[int], NDArray[np.int64]]:
    """Return the survivors of an attempt and the sum of their vectors.

    Args:
        session: The attempt.
        places: Ids of the clients of each host.
        asked: The clients who are asked for a vector.
        ask: Carries messages to hosts and back; a host that refuses costs its own clients only.
        request: What all messages say besides.

    Raises:
        TooFewClients: Too few clients or members are left, some because hosts refused to go on, for
            reasons that are told; nothing is revealed.
        Refused: What members sent is false.
    """
    refusals: list[str] = []

    def hear(phase: str, messages: Mapping[int, Wire], senders: int = 0) -> dict[int, Wire]:
        good: dict[int, Wire] = {}
        whole = {host: {**message, **(request or {})} for host, message in messages.items()}
        for host, back in ask(phase, whole).items():
            try:
                if isinstance(back, str):
                    raise Refused(back)
                there = set(places[host]) & set(asked) if phase == "shares" else places[host]
                join(session, phase, [back], there, senders)
                good[host] = back
            except Refused as reason:
                refusals.append(f"host {host}: {reason}")
        return good

    try:
        senders = [host for host, there in places.items() if not set(asked).isdisjoint(there)]
        sent = hear("shares", {host: {} for host in senders})
        shares = join(session, "shares", [*sent.values()])
        count = len(ids_of(shares, "clients", session.settings.clients))
        seats = {h: [m for m in session.committee if m in there] for h, there in places.items()}
        wires = {h: deliver(session, shares, seated) for h, seated in seats.items() if seated}
        reports = hear("report", wires, count) if count >= session.settings.least else {}
        report = join(session, "report", [*reports.values()], senders=count)
        listed = listing = survivors(session, shares, report)
        members: Collection[int] = reports
        if session.settings.malicious:
            members = echoes = hear("echo", dict.fromkeys(reports, listed))
            listing = join(session, "echo", [*echoes.values()])
        sums = hear("sums", dict.fromkeys(members, listing))
        total = open_sum(session, listed, join(session, "sums", [*sums.values()]))
    except TooFewClients as few:
        more = [f"and {len(refusals) - TOLD} more"] if len(refusals) > TOLD else []
        raise TooFewClients("; ".join([str(few), *refusals[:TOLD], *more])) from few
    return ids_of(listed, "survivors", session.settings.clients), total


def join(
    session: Session,
    phase: str,
    answers: Sequence[Wire],
    there: Collection[int] | None = None,
    senders: int = 0,
) -> Wire:
    """Return hosts' answers as one message, with a row per client or member, ascending.

    Args:
        session: The attempt.
        phase: ``"shares"``, ``"report"``, ``"echo"`` or ``"sums"``.
        answers: The answers; to blame a host for its answer, join that one alone first.
        there: Ids of the clients that they may speak for; None for all.
        senders: How many clients' shares were delivered, where members report on them.

    Raises:
        Refused: An answer is malformed, or speaks for others than it may, or for one twice.
    """
    settings = session.settings
    by, allowed = "members", set(session.committee)
    if phase == "shares":
        by, allowed = "clients", set(range(settings.clients))
    form = {
        "shares": {"nonces": NONCE, "boxes": settings.members * settings.box},
        "report": {"readable": max(1, -(-senders // 8))},
        "echo": {"signatures": SIGNATURE},
        "sums": {"sums": settings.box - TAG},
    }
    wire = joined(answers, form[phase], by, settings.clients)
    allowed &= allowed if there is None else set(there)
    if strangers := set(ids_of(wire, by, settings.clients)) - allowed:
        raise Refused(f"{phase} for clients {sorted(strangers)}, who have no part in it there")
    return wire


def deliver(session: Session, shares: Wire, members: Sequence[int]) -> Wire:
    """Return the message to a host with some members: the shares for them, from all clients."""
    settings, ordered = session.settings, sorted(members)
    boxes = entry(shares, "boxes", settings.box).reshape(-1, settings.members, settings.box)
    places = [session.committee.index(member) for member in ordered]
    return {
        "members": id_bytes(ordered),
        "senders": shares["clients"],
        "nonces": shares["nonces"],
        "boxes": boxes[:, places].swapaxes(0, 1).tobytes(),
    }


def survivors(session: Session, shares: Wire, report: Wire) -> Wire:
    """Return the list of survivors: clients whose shares all of as many members as can be hold.

    Members that read the fewest are left out as long as the list would be too short with them, so
    that neither a client with a few bad shares nor a member that reads nothing stops the round.

    Args:
        session: The attempt.
        shares: All shares, joined.
        report: All reports, joined.

    Raises:
        TooFewClients: There is no such list; nothing has been revealed.
    """
    settings = session.settings
    senders = np.array(ids_of(shares, "clients", settings.clients), dtype=np.int64)
    members = ids_of(report, "members", settings.clients)
    if len(members) < settings.threshold or len(senders) < settings.least:
        raise TooFewClients(
            f"secure-sum: shares of {len(senders)} clients came, and {len(members)} members read "
            f"them; {settings.least} and {settings.threshold} are needed"
        )
    bits = entry(report, "readable", -(-len(senders) // 8))
    readable = np.unpackbits(bits, axis=1, count=len(senders)).astype(bool)
    ranked = readable[np.argsort(-readable.sum(1), kind="stable")]
    by_all = np.logical_and.accumulate(ranked, axis=0)  # row r: read by the r + 1 best members
    enough = by_all.sum(1) >= settings.least
    if not enough[settings.threshold - 1]:
        raise TooFewClients(
            f"secure-sum: shares of {by_all[settings.threshold - 1].sum()} clients could be read "
            f"by {settings.threshold} members; {settings.least} are needed"
        )
    return {"survivors": id_bytes(senders[by_all[np.flatnonzero(enough)[-1]]].tolist())}


def open_sum(session: Session, listed: Wire, sums: Wire) -> NDArray[np.int64]:
    """Return the sum ``(d,)`` of the survivors' integers.

    Args:
        session: The attempt.
        listed: From ``survivors``.
        sums: All members' sums, joined.

    Raises:
        TooFewClients: They are fewer than the threshold, and reveal nothing.
        Refused: They do not fit each other, or what comes out is more than the survivors may have
            sent: a client's shares, or a member's sums, are false.
    """
    settings, prime = session.settings, session.settings.prime
    members = ids_of(sums, "members", settings.clients)
    if len(members) < settings.threshold:
        raise TooFewClients(
            f"secure-sum: {len(members)} members sent sums, {settings.threshold} are needed"
        )
    values = field.from_bytes(entry(sums, "sums", settings.box - TAG), prime)
    points = [session.committee.index(member) + 1 for member in members]
    try:
        elements = field.interpolate(points, values, settings.threshold, prime)
    except ValueError as error:
        raise Refused(f"secure-sum: {error}: a client or a member cheats") from error
    result, number = field.to_signed(elements, prime), len(ids_of(listed, "survivors", 2**32))
    if (np.abs(result) > columns(settings.blocks, number)).any():
        raise Refused(f"secure-sum: {number} clients cannot have sent this sum: someone cheats")
    return result
