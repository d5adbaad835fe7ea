"""Hosts that meet and attempt a round in this process, with a hook for all that travels."""

import os
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from qmoe_fed.federated.hidden import Refused, Wire
from strategies.secure_sum import keys, server
from strategies.secure_sum.field import Source
from strategies.secure_sum.hosts import Host
from strategies.secure_sum.settings import Session

Carry = Callable[[str, int, Wire], Wire | None]
"""``(phase, host, message) -> message``: what arrives; None if nothing does.

Answers come in the phases of ``server``; what a host is asked with goes ``"to ‹phase›"``.
"""


def as_sent(phase: str, host: int, message: Wire) -> Wire | None:
    """Carry messages as they are."""
    return message


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
    """Return the survivors and the sum of their vectors; errors as ``server.collect``.

    Args:
        hosts: Their memory changes.
        session: The attempt, as all see it.
        integers: Vectors ``(d,)`` by client.
        carry: The way there and back.
        source: As for ``clients.share``.
    """

    def ask(phase: str, messages: Mapping[int, Wire]) -> Mapping[int, Wire | str]:
        answers: dict[int, Wire | str] = {}
        for i, message in messages.items():
            if (there := carry(f"to {phase}", i, message)) is None:
                continue
            try:
                own = {c: integers[c] for c in hosts[i].clients if c in integers}
                back = hosts[i].answer(phase, session, there, own, source)
            except Refused as reason:
                answers[i] = str(reason)
                continue
            if (arrived := carry(phase, i, back)) is not None:
                answers[i] = arrived
        return answers

    places = {i: host.clients for i, host in enumerate(hosts)}
    return server.collect(session, places, integers.keys(), ask)
