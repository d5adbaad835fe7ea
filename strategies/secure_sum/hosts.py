"""A host: what it answers in each phase, and what it holds until the next."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from qmoe_fed.federated.hidden import Refused, Wire
from strategies.secure_sum import clients, members
from strategies.secure_sum.clients import Memory
from strategies.secure_sum.field import Source
from strategies.secure_sum.keys import Party
from strategies.secure_sum.members import Held, Listed
from strategies.secure_sum.settings import Session


@dataclass
class Host:
    """A host, what it has answered, and what it holds for the next phase."""

    party: Party
    memory: Memory = field(default_factory=Memory)
    held: Held | Listed | None = None

    @property
    def clients(self) -> list[int]:
        """Ids of the clients that live there, ascending."""
        return self.party.clients

    def answer(
        self,
        phase: str,
        session: Session,
        wire: Wire,
        integers: Mapping[int, NDArray[np.int64]],
        source: Source = os.urandom,
    ) -> Wire:
        """Answer in any phase, as ``clients.share``, ``members.receive``, ``agree``, ``release``.

        Args:
            phase: As in ``server``.
            session: The attempt, as this host sees it.
            wire: The server's message.
            integers: For ``"shares"``: vectors ``(d,)`` by client.
            source: As for ``clients.share``.

        Raises:
            Refused: The message breaks the protocol, or comes out of turn.
        """
        if phase == "shares":
            back, self.memory = clients.share(self.party, session, integers, self.memory, source)
            return back
        if phase == "report":
            back, self.held = members.receive(self.party, session, wire)
            return back
        held, memory = self.held, self.memory
        if phase == "echo" or (phase == "sums" and not session.settings.malicious):
            if not isinstance(held, Held):
                raise Refused(f"{phase}: this host holds no shares of that attempt")
            back, held, memory = members.agree(self.party, held, wire, memory)
        if phase == "sums":
            if not isinstance(held, Listed):
                raise Refused("sums: this host has not agreed to a list in that attempt")
            back, memory = members.release(self.party, held, wire, memory)
            held = None
        self.held, self.memory = held, memory
        return back
