"""What a client holds to be true of the protocol: from its own config, never from the server."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from qmoe_fed.errors import UserError
from qmoe_fed.federated.hidden import Refused
from strategies.secure_sum.field import MOST_MEMBERS, PRIME, width
from strategies.secure_sum.fixed_point import Block

LABEL = b"qmoe-fed secure sum 1"
NONCE, TAG = 12, 16  # bytes of AES-GCM: drawn for each message, and added to it


@dataclass(frozen=True)
class Settings:
    """The protocol of a run. Who has other settings cannot read the others' shares.

    Attributes:
        run: What the committee is drawn from: public, fixed after the list of clients, and not the
            server's choice, who could else try until it likes the committee.
        clients: n; clients are 0 … n - 1, each a possible member.
        blocks: What the vectors consist of.
        members: m, the size of the committee, at most 127.
        threshold: t, how many of its members it takes to open a sum.
        least: How few survivors' sum a member helps to open.
        malicious: Whether members make sure of one list of survivors before they answer.
        rounds: Rounds of the run.
        prime: p of the field.

    Raises:
        UserError: The settings cannot work.
    """

    run: str
    clients: int
    blocks: tuple[Block, ...]
    members: int
    threshold: int
    least: int
    malicious: bool = True
    rounds: int = 10**6
    prime: int = PRIME

    def __post_init__(self) -> None:
        if not 2 <= self.threshold <= self.members <= min(self.clients, MOST_MEMBERS):
            raise UserError(
                f"secure-sum: threshold {self.threshold} of {self.members} members out of "
                f"{self.clients} clients: expected 2 ≤ threshold ≤ members ≤ "
                f"min(clients, {MOST_MEMBERS})"
            )
        if self.malicious and 2 * self.threshold <= self.members:
            raise UserError(
                f"secure-sum: threshold {self.threshold} of {self.members} members lets a server "
                "that lies open two sums; it must be more than half"
            )
        if not 2 <= self.least <= self.clients:
            raise UserError(
                f"secure-sum: least number of survivors {self.least}, expected 2 to {self.clients}"
            )
        for block in self.blocks:
            if (sums := block.largest(self.clients)) >= self.prime / 2:
                raise UserError(
                    f"secure-sum: sums up to {sums:.3g} do not fit in a field of {self.prime:.3g} "
                    f"({self.clients} clients, clip {block.clip:g}, {block.bits} bits, noise "
                    f"{block.noise:g}); take fewer bits"
                )

    @property
    def size(self) -> int:
        """d, the length of a vector."""
        return sum(block.size for block in self.blocks)

    @property
    def box(self) -> int:
        """Bytes of one encrypted share."""
        return self.size * width(self.prime) + TAG

    @cached_property
    def committee(self) -> tuple[int, ...]:
        """The members; the point of the j-th is x = j + 1.

        They are the same in every attempt: that they open one sum per round, whatever the attempt,
        keeps two attempts from being compared.
        """
        seed = json.dumps([self.run, self.clients]).encode()
        draws = hashlib.shake_256(LABEL + b" committee" + seed).digest(16 * self.clients)
        order = np.lexsort(np.frombuffer(draws, dtype="<u8").reshape(-1, 2).T)
        return tuple(order[: self.members].tolist())


@dataclass(frozen=True)
class Session:
    """One attempt at one round.

    Attributes:
        settings: The party's own.
        round: From 1.
        attempt: From 0; a round that is run again is a new attempt.
        parameters: ``fingerprint`` of the global parameters that the party was given.

    Raises:
        Refused: There is no such round or attempt.
    """

    settings: Settings
    round: int
    attempt: int
    parameters: bytes

    def __post_init__(self) -> None:
        if not (1 <= self.round <= self.settings.rounds and self.attempt >= 0):
            raise Refused(
                f"round {self.round}, attempt {self.attempt}: expected a round from 1 to "
                f"{self.settings.rounds} and an attempt from 0"
            )

    @property
    def number(self) -> tuple[int, int]:
        """Round and attempt, which only grow."""
        return self.round, self.attempt

    @cached_property
    def tag(self) -> bytes:
        """A hash of all that the parties must agree on; bound to every share and signature.

        What a share is encrypted with is this, then the sender's and the receiver's id.
        """
        what = [asdict(self.settings), self.round, self.attempt, self.parameters.hex()]
        return hashlib.sha256(LABEL + json.dumps(what, sort_keys=True).encode()).digest()

    @property
    def committee(self) -> tuple[int, ...]:
        """The members, see ``Settings.committee``."""
        return self.settings.committee


def fingerprint(parameters: Mapping[str, NDArray[np.generic]]) -> bytes:
    """Return a hash of the global parameters: names, types, shapes and bits."""
    digest = hashlib.sha256()
    for name, values in sorted(parameters.items()):
        head = json.dumps([name, values.dtype.str, list(values.shape)]).encode()
        digest.update(len(head).to_bytes(4, "little") + head + values.tobytes())
    return digest.digest()
