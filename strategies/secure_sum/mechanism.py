"""The secure sum as a mechanism of a run: what hosts add, and what the server makes of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qmoe_fed.config import Config
from qmoe_fed.federated.hidden import Ask, HiddenSum, Refused, Sum, Wire
from qmoe_fed.federated.mechanism import Mechanism, Memory
from qmoe_fed.federated.updates import ClientTable, Cohort
from qmoe_fed.models import Parameters
from strategies.secure_sum import checks, keys, meeting, server
from strategies.secure_sum.checks import KINDS
from strategies.secure_sum.fixed_point import dequantise
from strategies.secure_sum.parameters import ALL_MEMBERS
from strategies.secure_sum.rows import Floats, head, heading, integers, mean, values
from strategies.secure_sum.settings import NONCE, Session, Settings, fingerprint
from strategies.secure_sum.vault import NUMBERS, keys_of, party_of, restored, stored
from strategies.secure_sum.wire import entry


@dataclass(eq=False)
class SecureSum(HiddenSum):
    """The server learns sums over the clients that survive a round, and who these are.

    Every client's update is clipped to ``clip-norm`` where it is, never on the server. Loss, number
    of examples and scores are summed likewise. See docs/secure_sum.md for who can learn what.

    Attributes:
        config: The run.
        settings: The protocol, by what is summed.
        publics: Keys of the clients who have introduced themselves, on the server.
        attempt: How often the run has been gone on with.
    """

    config: Config
    settings: Mapping[str, Settings]
    publics: dict[int, bytes] = field(default_factory=dict)
    attempt: int = 0

    name: ClassVar[str] = "secure-sum"

    @classmethod
    def from_config(cls, config: Config, options: dict[str, object]) -> Self:
        """Return the mechanism with the settings of the privacy section."""
        return cls(config, checks.protocol(config, checks.rows(config)))

    def check(self, config: Config, chain: Sequence[Mechanism]) -> None:
        """Refuse what needs rows, or would not protect; as ``checks.refuse``."""
        drawn = config.federation.num_clients > ALL_MEMBERS
        reason = f"with more than {ALL_MEMBERS} clients a committee is drawn, which takes a number"
        numbered = config.privacy.corrupt_fraction > 0 or not drawn
        checks.refuse(self, self.name, {"corrupt-fraction": (numbered, reason)}, config, chain)

    # on the hosts

    def answer(
        self,
        vault: Wire,
        phase: str,
        asked: Wire,
        clients: Sequence[int],
        hidden: tuple[Parameters, Cohort | ClientTable] | None = None,
    ) -> tuple[Wire, Wire]:
        """Answer as the host of some clients; as ``HiddenSum.answer``."""
        if phase == "keys":
            answer, own = meeting.introduce(vault, clients, self._run)
            return answer, {**vault, **own}
        party = party_of(self._run, vault)
        if phase == "meet":
            return {}, {**vault, **keys_of(keys.meet(party, asked))}
        kind, number, attempt = head(asked)
        prefix, told = f"{kind}.", entry(asked, "parameters", 32).tobytes()
        own = {k.removeprefix(prefix): v for k, v in vault.items() if k.startswith(prefix)}
        vectors: dict[int, NDArray[np.int64]] = {}
        if phase == "shares":
            if hidden is None:
                raise Refused("shares: this host was not asked to train or to be scored")
            told = _fingerprint(kind, hidden[0], party.publics)
            vectors = self._integers(kind, number, hidden[1], asked)
            own = {"memory": own["memory"]} if "memory" in own else {}
        session = Session(self.settings[kind], number, attempt, told)
        if phase in ("echo", "sums") and own.get("tag") != session.tag:
            raise Refused(f"{phase}: this host holds nothing of that attempt")
        host = restored(party, session, own)
        answer = host.answer(phase, session, asked, vectors)
        now = {f"{prefix}{name}": value for name, value in stored(host).items()}
        others = {k: v for k, v in vault.items() if not k.startswith(prefix)}
        return answer, {**others, **now, f"{prefix}tag": session.tag}

    def _integers(
        self, kind: str, number: int, table: Cohort | ClientTable, asked: Wire
    ) -> dict[int, NDArray[np.int64]]:
        """Return what clients share; not of those who have nothing that is finite."""
        return integers(self.config, kind, number, table, self.settings[kind].blocks)

    def _values(self, kind: str, table: Cohort | ClientTable) -> tuple[list[int], Floats]:
        """Return whose rows a sum is of, and these: updates, loss and examples, or ``scores``."""
        return values(self.config, kind, table)

    def memory(self, vault: Wire) -> Tensor:
        """Return what the host has answered, ``(2, 5)``: by kind, as ``Memory``."""
        rows = [vault.get(f"{kind}.memory", bytes(8 * NUMBERS)) for kind in KINDS]
        raw = b"".join(row for row in rows if isinstance(row, bytes))
        return torch.from_numpy(np.frombuffer(raw, dtype="<i8").reshape(2, NUMBERS).copy())

    def remembering(self, vault: Wire, memory: Tensor) -> Wire:
        """Return a vault whose memory is at least this one."""
        rows = torch.maximum(self.memory(vault), memory).numpy()
        return {**vault, **{f"{k}.memory": r.tobytes() for k, r in zip(KINDS, rows, strict=True)}}

    # on the server

    def prepare(self, what: Sum, ask: Ask) -> Wire:
        """Have all hosts meet, if they have not, and return what is sent along with a request."""
        if not self.publics:
            self._introduce_all(what.hosts, ask)
        parameters = _fingerprint(what.kind, what.shared, self.publics)
        return {**heading(what, self.attempt), "parameters": parameters}

    def _introduce_all(self, hosts: int, ask: Ask) -> None:
        there, clients = self._places(hosts), self.config.federation.num_clients
        told, self.publics = meeting.introductions(there, clients, self._run, ask, self.name)
        meeting.hand_round("meet", told, [*there], ask, self.name)

    def total(self, what: Sum, ask: Ask) -> tuple[tuple[int, ...], Tensor]:
        """Return whose rows are in the sum, and their mean; as ``HiddenSum.total``."""
        request = self.prepare(what, ask)
        kind, number, attempt = head(request)
        session = Session(self.settings[kind], number, attempt, b"")
        places = self._places(what.hosts)
        survivors, sums = server.collect(session, places, what.clients, ask, request)
        sums_of = dequantise(sums, session.settings.blocks)
        row = self._mean(kind, sums_of, len(survivors))
        return tuple(survivors), torch.from_numpy(row)

    def _mean(self, kind: str, sums: Floats, count: int) -> Floats:
        """Return what ``total`` does, of the sums of so many rows."""
        return mean(self.config, kind, sums, count)

    def bytes_up(self) -> int:
        """Return the bytes of a client's message in a round of training."""
        settings = self.settings["train"]
        return 4 + NONCE + settings.members * settings.box

    @property
    def scores(self) -> list[str]:
        """Accuracy, loss, entropy of the routing, and loads."""
        return checks.scores(self.config)

    def state_dict(self) -> Memory:
        """Return how often the run has been gone on with; keys and shares are never kept."""
        return {"attempt": self.attempt}

    def load_state_dict(self, state: Memory) -> None:
        """Go on from a saved state, with new keys."""
        self.attempt, self.publics = int(state["attempt"]) + 1, {}

    def _places(self, hosts: int) -> dict[int, range]:
        return meeting.places(self.config.federation.num_clients, hosts)

    @property
    def _run(self) -> str:
        return self.settings["train"].run


def _fingerprint(kind: str, shared: Parameters, publics: Mapping[int, bytes]) -> bytes:
    """Return a hash of what a sum starts from: parameters, and who has met with which keys."""
    met = b"".join(c.to_bytes(4, "little") + key for c, key in sorted(publics.items()))
    values = {name: values.cpu().numpy() for name, values in shared.items()}
    return fingerprint({**values, "": np.frombuffer(kind.encode() + met, dtype=np.uint8)})
