"""One attempt at a round, host by host in this process: what every transport has to carry."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from strategies.secure_sum import clients, keys, members, server
from strategies.secure_sum.clients import Memory
from strategies.secure_sum.settings import Session
from strategies.secure_sum.wire import Wire, ids_of

Carry = Callable[[str, int, Wire], Wire | None]
"""``(phase, host, message) -> message``: what arrives; None if nothing does."""


def as_sent(phase: str, host: int, message: Wire) -> Wire | None:
    """Carry messages as they are."""
    return message


@dataclass
class Party:
    """A host: keys of its clients, and what they have answered."""

    channels: keys.Channels
    roster: keys.Roster
    memory: Memory = Memory()  # noqa: RUF009 frozen


def meet(groups: Sequence[Sequence[int]], run: str) -> list[Party]:
    """Return hosts with some clients each, who have introduced themselves to each other."""
    identities = [keys.new_identities(group) for group in groups]
    roster = {c: key for group in identities for c, key in keys.roster_of(group).items()}
    started = [keys.start(group, run) for group in identities]
    wire = keys.join_keys([introduction for _, introduction in started], len(roster))
    return [
        Party(keys.Channels(run, secrets, keys.read_keys(wire, roster, run)), roster)
        for secrets, _ in started
    ]


def attempt(
    hosts: Sequence[Party],
    session: Session,
    integers: Mapping[int, NDArray[np.int64]],
    carry: Carry = as_sent,
) -> tuple[list[int], NDArray[np.int64]]:
    """Return the survivors and the sum of their vectors.

    Args:
        hosts: Their memory changes.
        session: The attempt, as all see it.
        integers: Vectors ``(d,)`` by client.
        carry: The way there and back.

    Raises:
        TooFewClients: Too few clients or members are left; nothing is revealed.
        Refused: Someone cheats, or forgets.
    """

    def shared(host: Party) -> Wire:
        own = {c: v for c, v in integers.items() if c in host.channels.secrets.signing}
        wire, host.memory = clients.share(host.channels, session, own, host.memory)
        return wire

    ways = list(enumerate(hosts))

    def back(phase: str, number: int, wire: Wire) -> list[Wire]:
        arrived = carry(phase, number, wire)
        return [] if arrived is None else [arrived]

    sent = [w for i, host in ways for w in back("shares", i, shared(host))]
    shares = server.join_shares(session.settings, sent)
    held, reports = {}, []
    for i, host in ways:
        own = [m for m in session.committee if m in host.channels.secrets.signing]
        for arrived in back("delivery", i, server.deliver(session, shares, own)) if own else []:
            report, held[i] = members.receive(host.channels, session, arrived)
            reports += back("report", i, report)
    listed = server.survivors(session, shares, reports)
    agreed, echoes = {}, []
    for i in held:
        for arrived in back("list", i, listed):
            party = hosts[i]
            echo, agreed[i], party.memory = members.agree(
                party.channels, held[i], arrived, party.memory
            )
            echoes += back("echo", i, echo)
    signed, releases = server.join_echoes(session, echoes), []
    for i in agreed:
        for arrived in back("echoes", i, signed):
            party = hosts[i]
            release, party.memory = members.release(party.roster, agreed[i], arrived, party.memory)
            releases += back("release", i, release)
    total = server.open_sum(session, listed, releases)
    return ids_of(listed, "survivors", session.settings.clients), total
