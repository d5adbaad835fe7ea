"""Sums of what clients send where nobody sees what one of them sends: the form of a mechanism.

Server and hosts exchange messages in phases: ``keys`` and ``meet`` once, and then, for every sum,
``shares``, in which hosts answer with what they hide, and whatever phases it takes from there. Each
transport carries them its own way (``Ask``); each host keeps its secrets in a ``Wire`` of its own,
handed in and out.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from qmoe_fed.federated.mechanism import Mechanism
from qmoe_fed.federated.rules import Rules, TooFewClients
from qmoe_fed.federated.updates import ClientTable, Cohort, Layout, Rejection
from qmoe_fed.models import Parameters

Wire = dict[str, int | bytes]
"""A message, or what a host keeps for itself: numbers and bytes, which any transport can carry."""

Ask = Callable[[str, Mapping[int, Wire]], Mapping[int, Wire | str]]
"""``(phase, messages) -> answers``, by the number of the host; a text says why there is none."""


class Refused(ValueError):
    """A message breaks the protocol: whoever sent it, or carried it, cheats or is confused.

    The party that raises it does nothing: it has not answered and its memory is as it was.
    """


@dataclass(frozen=True)
class Sum:
    """What one sum is to be about.

    Attributes:
        kind: ``"train"`` or ``"score"``.
        round: The round, from 1; scores may also be those before it, 0.
        shared: The shared parameters that the clients were given, ``(*shape)`` each.
        clients: Ids of those who are asked for a row, ascending.
        hosts: Number of hosts; client c lives on host c mod hosts.
    """

    kind: str
    round: int
    shared: Parameters
    clients: Sequence[int]
    hosts: int = 1


class HiddenSum(Mechanism, ABC):
    """A mechanism that gives the server sums instead of rows; a run has one at most.

    The client halves of other mechanisms come before it. Derive from it and override all that
    is abstract: a class that leaves something out cannot be built, and its run does not start.
    """

    @abstractmethod
    def answer(
        self,
        vault: Wire,
        phase: str,
        asked: Wire,
        clients: Sequence[int],
        hidden: tuple[Parameters, Cohort | ClientTable] | None = None,
    ) -> tuple[Wire, Wire]:
        """Return a host's answer, and its vault as it is from now on.

        Args:
            vault: What the host keeps; at first ``identities``, the path of a folder, or nothing.
            phase: The phase.
            asked: The server's message.
            clients: Ids of the clients that live there.
            hidden: For ``"shares"``: the shared parameters, and the rows of those who were asked.

        Raises:
            Refused: The message breaks the protocol.
        """

    @abstractmethod
    def memory(self, vault: Wire) -> Tensor:
        """Return what a host must not forget, whatever happens: whole numbers, none of it secret.

        Of two hosts' memories, or two times', the larger numbers hold.
        """

    @abstractmethod
    def remembering(self, vault: Wire, memory: Tensor) -> Wire:
        """Return a vault whose memory is at least this one."""

    @abstractmethod
    def prepare(self, what: Sum, ask: Ask) -> Wire:
        """Return what is sent along when clients are asked for rows; make them meet before."""

    @abstractmethod
    def total(self, what: Sum, ask: Ask) -> tuple[tuple[int, ...], Tensor]:
        """Return whose rows are in the sum, ascending, and the mean of these rows, ``(d,)``.

        Of training the columns are those of the update and the loss; of scores, ``scores``.

        Raises:
            TooFewClients: Too few answer; nothing has been revealed.
            Refused: Somebody cheats; there is no sum.
        """

    @abstractmethod
    def bytes_up(self) -> int:
        """Return how many bytes a client's row is on its way to the server."""

    @property
    @abstractmethod
    def scores(self) -> list[str]:
        """Which columns of a table of scores are summed."""

    @property
    def has_server_half(self) -> bool:
        """True: no other mechanism can work on rows that the server does not have."""
        return True


def hidden_sum(mechanisms: Sequence[Mechanism]) -> HiddenSum | None:
    """Return the mechanism that hides rows, if a run has one."""
    return next((one for one in mechanisms if isinstance(one, HiddenSum)), None)


def hidden_cohort(
    hidden: HiddenSum, rules: Rules, what: Sum, layout: Layout, ask: Ask
) -> tuple[Cohort, list[Rejection]]:
    """Return the cohort of a round in which everyone is said to have sent the mean of all.

    Aggregators that are means, and all that comes after, do with it what they would do with the
    rows that nobody may see.
    """
    try:
        clients, mean = hidden.total(what, ask)
    except (TooFewClients, Refused) as reason:
        everyone = [Rejection(client, str(reason)) for client in what.clients]
        return Cohort.of_nobody(layout.size), everyone
    update, loss = mean[:-1], mean[-1]
    if rules.trained_by:  # a mean over all: those who train a number are fewer
        trained = rules.trained_by(clients).double().mean(0)
        update = update / trained.where(trained > 0, torch.ones_like(trained))
    count, ones = len(clients), torch.ones(len(clients), dtype=torch.float64)
    lost = sorted(set(what.clients) - set(clients))
    rejections = [Rejection(client, "what it sent is not in the hidden sum") for client in lost]
    return Cohort(clients, update.expand(count, -1), ones, loss.expand(count)), rejections


@dataclass
class OneHost:
    """Asks the host of all clients, in this process."""

    hidden: HiddenSum
    vault: Wire
    clients: Sequence[int]
    sent: tuple[Parameters, Cohort]

    def __call__(self, phase: str, messages: Mapping[int, Wire]) -> Mapping[int, Wire | str]:
        if not messages:
            return {}
        sent = self.sent if phase == "shares" else None
        try:
            arguments = self.vault, phase, messages[0], self.clients, sent
            answer, self.vault = self.hidden.answer(*arguments)
        except Refused as reason:
            return {0: str(reason)}
        return {0: answer}
