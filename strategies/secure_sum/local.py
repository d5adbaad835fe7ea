"""One attempt at a round, host by host in this process: what every transport has to carry."""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from qmoe_fed.federated.rules import TooFewClients
from strategies.secure_sum import clients, keys, members, server
from strategies.secure_sum.clients import Memory
from strategies.secure_sum.field import Source
from strategies.secure_sum.settings import Session
from strategies.secure_sum.wire import Refused, Wire, ids_of

Carry = Callable[[str, int, Wire], Wire | None]
"""``(phase, host, message) -> message``: what arrives; None if nothing does.

Answers come in the phases of ``server``; what a host is asked with goes ``"to ‹phase›"``.
"""


def as_sent(phase: str, host: int, message: Wire) -> Wire | None:
    """Carry messages as they are."""
    return message


@dataclass
class Host:
    """A host, and what it has answered."""

    party: keys.Party
    memory: Memory = field(default_factory=Memory)

    @property
    def clients(self) -> list[int]:
        """Ids of the clients that live there, ascending."""
        return self.party.clients


def meet(groups: Sequence[Sequence[int]], run: str, absent: Sequence[int] = ()) -> list[Host]:
    """Return hosts with some clients each; all but absent hosts have introduced themselves."""
    identities = [keys.new_identities(group) for group in groups]
    roster = {c: key for group in identities for c, key in keys.roster_of(group).items()}
    started = [keys.start(group, roster, run) for group in identities]
    there = [wire for i, (_, wire) in enumerate(started) if i not in absent]
    wire = keys.join_keys(there, len(roster))
    return [Host(keys.meet(party, wire)) for party, _ in started]


def attempt(
    hosts: Sequence[Host],
    session: Session,
    integers: Mapping[int, NDArray[np.int64]],
    carry: Carry = as_sent,
    source: Source = os.urandom,
) -> tuple[list[int], NDArray[np.int64]]:
    """Return the survivors and the sum of their vectors.

    Args:
        hosts: Their memory changes.
        session: The attempt, as all see it.
        integers: Vectors ``(d,)`` by client.
        carry: The way there and back.
        source: Random bytes for the shares; the operating system's, except in tests.

    Raises:
        TooFewClients: Too few clients or members are left, some because hosts refused to go on, for
            reasons that are told; nothing is revealed.
        Refused: What members sent is false.
    """
    refusals: list[str] = []
    held: dict[int, members.Held] = {}
    listed: dict[int, members.Listed] = {}

    def ask(
        phase: str,
        message: Wire | None,
        those: Iterable[int],
        answer: Callable[[int, Wire], Wire],
        senders: int = 0,
    ) -> Wire:
        """Send hosts a message, their own if none is given, and return their answers, joined."""
        good = []
        for i in list(those):
            mine = [m for m in session.committee if m in hosts[i].clients]
            asked = server.deliver(session, shares, mine) if phase == "report" else message or {}
            try:
                if (there := carry(f"to {phase}", i, asked)) is None:
                    continue
                if (back := carry(phase, i, answer(i, there))) is None:
                    continue
                server.join(session, phase, [back], hosts[i].clients, senders)
                good.append(back)
            except Refused as reason:
                refusals.append(f"host {i}: {reason}")
        return server.join(session, phase, good, None, senders)

    def share(i: int, _: Wire) -> Wire:
        host = hosts[i]
        own = {client: integers[client] for client in host.clients if client in integers}
        wire, host.memory = clients.share(host.party, session, own, host.memory, source)
        return wire

    def receive(i: int, wire: Wire) -> Wire:
        report, held[i] = members.receive(hosts[i].party, session, wire)
        return report

    def agree(i: int, wire: Wire) -> Wire:
        host = hosts[i]
        echo, listed[i], host.memory = members.agree(host.party, held[i], wire, host.memory)
        return echo

    def release(i: int, wire: Wire) -> Wire:
        host = hosts[i]
        sums, host.memory = members.release(host.party, listed[i], wire, host.memory)
        return sums

    try:
        senders = [i for i, host in enumerate(hosts) if integers.keys() & set(host.clients)]
        seated = [i for i, host in enumerate(hosts) if set(session.committee) & set(host.clients)]
        shares = ask("shares", None, senders, share)
        count = len(ids_of(shares, "clients", session.settings.clients))
        survivors = server.survivors(session, shares, ask("report", None, seated, receive, count))
        echoes = ask("echo", survivors, held, agree)
        total = server.open_sum(session, survivors, ask("sums", echoes, listed, release))
    except TooFewClients as few:
        raise TooFewClients("; ".join([str(few), *refusals])) from few
    return ids_of(survivors, "survivors", session.settings.clients), total
