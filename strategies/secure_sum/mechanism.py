"""The secure sum as a mechanism of a run: what hosts add, and what the server makes of it."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qmoe_fed import rng
from qmoe_fed.config import Config
from qmoe_fed.federated.hidden import Ask, HiddenSum, Refused, Sum, Wire
from qmoe_fed.federated.mechanism import Mechanism, Memory
from qmoe_fed.federated.updates import ClientTable, Cohort
from qmoe_fed.models import Parameters
from strategies.secure_sum import checks, identities, keys, server
from strategies.secure_sum.checks import KINDS
from strategies.secure_sum.clients import NONCE
from strategies.secure_sum.fixed_point import clip_rows, dequantise, quantise
from strategies.secure_sum.settings import Session, Settings, fingerprint
from strategies.secure_sum.vault import NUMBERS, keys_of, party_of, restored, stored
from strategies.secure_sum.wire import entry

Floats = NDArray[np.float64]

logger = logging.getLogger(__name__)


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
        checks.refuse(self, self.name, config, chain)

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
            return self._introduce(vault, clients)
        party = party_of(self._run, vault)
        if phase == "meet":
            return {}, {**vault, **keys_of(keys.meet(party, asked))}
        kind, number, attempt = _head(asked)
        prefix, told = f"{kind}.", entry(asked, "parameters", 32).tobytes()
        own = {k.removeprefix(prefix): v for k, v in vault.items() if k.startswith(prefix)}
        integers: dict[int, NDArray[np.int64]] = {}
        if phase == "shares":
            if hidden is None:
                raise Refused("shares: this host was not asked to train or to be scored")
            told = _fingerprint(kind, hidden[0], party.publics)
            integers = self._integers(kind, number, hidden[1], asked)
            own = {"memory": own["memory"]} if "memory" in own else {}
        session = Session(self.settings[kind], number, attempt, told)
        if phase in ("echo", "sums") and own.get("tag") != session.tag:
            raise Refused(f"{phase}: this host holds nothing of that attempt")
        host = restored(party, session, own)
        answer = host.answer(phase, session, asked, integers)
        now = {f"{prefix}{name}": value for name, value in stored(host).items()}
        others = {k: v for k, v in vault.items() if not k.startswith(prefix)}
        return answer, {**others, **now, f"{prefix}tag": session.tag}

    def _introduce(self, vault: Wire, clients: Sequence[int]) -> tuple[Wire, Wire]:
        """Make the keys of a run; whoever is asked again forgets them, but not what it answered."""
        folder, signing = vault.get("identities"), keys.new_identities(clients)
        roster: dict[int, bytes] = {}
        if isinstance(folder, bytes) and folder:
            signing, roster = identities.read(Path(folder.decode()).expanduser(), clients)
        party, wire = keys.start(signing, roster, self._run)
        believes = folder is not None and not roster
        return {**wire, "believes": int(believes)}, {**vault, **keys_of(party)}

    def _integers(
        self, kind: str, number: int, table: Cohort | ClientTable, asked: Wire
    ) -> dict[int, NDArray[np.int64]]:
        """Return what clients share; not of those who have nothing that is finite."""
        ids, values = self._values(kind, table)
        finite = np.logical_and.reduce(np.isfinite(values), axis=1)
        kept, rows = [c for c, good in zip(ids, finite, strict=True) if good], values[finite]
        if kind == "train":
            rows = self._weighted(rows[:, :-2], rows[:, -2:-1], rows[:, -1:])
        seed, shape = self.config.federation.seed, rows.shape[1:]
        draws = rng.uniform(seed, f"secure-sum {kind}", kept, shape, number)
        return dict(zip(kept, quantise(rows, self.settings[kind].blocks, draws), strict=True))

    def _values(self, kind: str, table: Cohort | ClientTable) -> tuple[list[int], Floats]:
        """Return whose rows a sum is of, and these: updates, loss and examples, or ``scores``."""
        if (kind == "train") != isinstance(table, Cohort):  # else rows could be summed twice
            raise Refused(f"shares: asked for {kind}, which is not what this host has just done")
        if isinstance(table, Cohort):
            columns = table.updates, table.losses[:, None], table.weights[:, None]
            return [*table.clients], torch.cat(columns, 1).numpy()
        rows = torch.stack([table.columns[name] for name in self.scores], 1)
        return table.clients.tolist(), rows.numpy()

    def _weighted(self, updates: Floats, losses: Floats, examples: Floats) -> Floats:
        """Return rows as ``checks.protocol`` says, of ``(k, P)``, ``(k, 1)`` and ``(k, 1)``."""
        clipped, strategy = clip_rows(updates, checks.clip_norm(self.config)), self.config.strategy
        if strategy.weighting == "uniform":
            return np.hstack([clipped, losses])
        weights = examples.clip(1, strategy.max_weight)
        return np.hstack([weights * clipped, losses, weights])

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
        return {
            "kind": KINDS.index(what.kind),
            "round": what.round + (what.kind == "score"),  # the first scores are of round 0
            "attempt": self.attempt,
            "parameters": _fingerprint(what.kind, what.shared, self.publics),
        }

    def _introduce_all(self, hosts: int, ask: Ask) -> None:
        places, clients, good = self._places(hosts), self.config.federation.num_clients, []
        self.publics = {}
        for host, wire in ask("keys", {host: {} for host in places}).items():
            try:
                if isinstance(wire, str):
                    raise Refused(wire)
                publics = keys.read_keys(wire, keys.claimed(wire, clients), self._run)
                if strangers := publics.keys() - set(places[host]):
                    raise Refused(f"keys for clients {sorted(strangers)}, who are not there")
            except Refused as reason:
                logger.warning("secure-sum: host %d has no part in the run: %s", host, reason)
                continue
            good.append(wire)
            self.publics |= publics
        if believing := sum(wire.get("believes") == 1 for wire in good):
            logger.warning(
                "secure-sum: %d of %d hosts believe the server who the others are (no identities "
                "in their node-config): that protects from a server that looks, not from one that "
                "lies",
                believing,
                hosts,
            )
        introductions = keys.join_keys(good, clients)
        for host, back in ask("meet", dict.fromkeys(places, introductions)).items():
            if isinstance(back, str):
                logger.warning("secure-sum: host %d has not met the others: %s", host, back)

    def total(self, what: Sum, ask: Ask) -> tuple[tuple[int, ...], Tensor]:
        """Return whose rows are in the sum, and their mean; as ``HiddenSum.total``."""
        request = self.prepare(what, ask)
        kind, number, attempt = _head(request)
        session = Session(self.settings[kind], number, attempt, b"")
        places = self._places(what.hosts)
        survivors, sums = server.collect(session, places, what.clients, ask, request)
        values = dequantise(sums, session.settings.blocks)
        return tuple(survivors), torch.from_numpy(self._mean(kind, values, len(survivors)))

    def _mean(self, kind: str, sums: Floats, count: int) -> Floats:
        """Return what ``total`` does, of the sums of so many rows."""
        mean = sums / count
        if kind == "train" and self.config.strategy.weighting == "examples":
            if sums[-1] < count / 2:
                raise Refused(f"{count} clients say that they have {sums[-1]:g} samples in all")
            mean = np.append(sums[:-2] / sums[-1], mean[-2])
        return mean

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
        clients = self.config.federation.num_clients
        return {host: range(host, clients, hosts) for host in range(hosts)}

    @property
    def _run(self) -> str:
        return self.settings["train"].run


def _head(wire: Wire) -> tuple[str, int, int]:
    """Return kind, round and attempt of a message."""
    numbers = [wire.get(name) for name in ("kind", "round", "attempt")]
    kind, number, attempt = (n if isinstance(n, int) else -1 for n in numbers)
    if not 0 <= kind < len(KINDS):
        raise Refused(f"a sum of kind {kind}: expected one of {KINDS}")
    return KINDS[kind], number, attempt


def _fingerprint(kind: str, shared: Parameters, publics: Mapping[int, bytes]) -> bytes:
    """Return a hash of what a sum starts from: parameters, and who has met with which keys."""
    met = b"".join(c.to_bytes(4, "little") + key for c, key in sorted(publics.items()))
    values = {name: values.cpu().numpy() for name, values in shared.items()}
    return fingerprint({**values, "": np.frombuffer(kind.encode() + met, dtype=np.uint8)})
