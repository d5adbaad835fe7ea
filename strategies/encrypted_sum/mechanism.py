"""The encrypted sum as a mechanism of a run."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qmoe_fed.config import Config
from qmoe_fed.errors import UserError
from qmoe_fed.federated.hidden import Ask, HiddenSum, Refused, Sum, Wire
from qmoe_fed.federated.mechanism import Mechanism, Memory
from qmoe_fed.federated.model import Model
from qmoe_fed.federated.rules import TooFewClients, sample_size
from qmoe_fed.federated.updates import ClientTable, Cohort
from qmoe_fed.models import Parameters
from strategies.encrypted_sum import wire
from strategies.encrypted_sum.cipher import SCHEMES, Cipher, new_key
from strategies.secure_sum import checks, keys, meeting
from strategies.secure_sum.checks import KINDS
from strategies.secure_sum.fixed_point import dequantise
from strategies.secure_sum.rows import head, heading, integers, mean
from strategies.secure_sum.vault import keys_of, party_of
from strategies.secure_sum.wire import entry, id_bytes, ids_of

NAME = "encrypted-sum"
EVERYONE = -1
TOLD = 3  # refusals, when a round is lost

logger = logging.getLogger(__name__)


@dataclass(eq=False)
class EncryptedSum(HiddenSum):
    """The server adds what it cannot read; who has the key tells it the sum, and nothing else.

    Rows are those of the secure sum: clipped, rounded, with losses and numbers of examples as
    coordinates. See docs/encrypted_sum.md for who can read what.

    Attributes:
        config: The run.
        ciphers: How rows are encrypted, by what is summed.
        least: Of how few rows a sum is opened, likewise.
        key: Name of the key that is in use, on the server; empty before all have met.
    """

    config: Config
    ciphers: Mapping[str, Cipher]
    least: Mapping[str, int]
    key: bytes = b""

    @classmethod
    def from_config(cls, config: Config, options: dict[str, object]) -> Self:
        """Return the mechanism with the settings of the privacy section."""
        federation, privacy = config.federation, config.privacy
        clients, scheme = federation.num_clients, SCHEMES[privacy.he_scheme]
        many = {"train": sample_size(clients, federation.fraction_train), "score": clients}
        return cls(
            config,
            {k: Cipher(scheme, tuple(rows), many[k]) for k, rows in checks.rows(config).items()},
            checks.least(config),
        )

    def check(self, config: Config, chain: Sequence[Mechanism]) -> None:
        """Refuse what needs rows, or would leave some of what is shared in clear."""
        privacy, clients = config.privacy, config.federation.num_clients
        further = {
            "malicious-server": (
                not privacy.malicious_server,
                "who has the key opens what it is given; use 'secure-sum' where the server may lie",
            ),
            "key-client": (privacy.key_client < clients, f"clients are 0 to {clients - 1}"),
        }
        checks.refuse(self, NAME, further, config, chain)
        self._check_whole(Model(config).initial_shared())

    def _check_whole(self, shared: Parameters) -> None:
        """Refuse to encrypt some of the shared parameters and send others in clear."""
        have, hidden = sum(v.numel() for v in shared.values()), self.ciphers["train"].blocks[0].size
        if have != hidden:
            raise UserError(
                f"{NAME}: {have} parameters are shared ({', '.join(shared)}), but {hidden} would "
                "be encrypted: the others would leave in clear"
            )

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
            kept = {name: v for name, v in vault.items() if name in ("identities", "opened")}
            return answer, {**kept, **own}
        party = party_of(self._run, vault)
        if phase == "meet":
            party = keys.meet(party, asked)
            vault = {**vault, **keys_of(party)}
            if self._maker not in clients or self._maker not in party.publics:
                return {}, vault
            secret, public = new_key(self.ciphers["train"].scheme)
            handed = secret if self._holder == EVERYONE else public
            return wire.hand_out(party, self._maker, handed), {**vault, "secret": secret}
        if phase == "key":
            own = {"key": wire.take(party, self._maker, asked), "name": wire.name_of(asked)}
            if self._holder == EVERYONE:
                own["secret"] = own["key"]
            return {}, {**vault, **own}
        if not vault.get("name") or asked.get("key") != vault["name"]:
            raise Refused(f"{phase}: this host does not have that key")
        kind, number, _ = head(asked)
        if phase == "sums":
            return self._open(vault, kind, number, asked)
        if hidden is None:
            raise Refused(f"{phase}: this host was not asked to train or to be scored")
        self._check_whole(hidden[0])
        cipher = self.ciphers[kind]
        rows = integers(self.config, kind, number, hidden[1], cipher.blocks)
        vectors = [cipher.encrypt(wire.raw(vault, "key"), row) for row in rows.values()]
        return {"clients": id_bytes([*rows]), **wire.packed(vectors)}, vault

    def _open(self, vault: Wire, kind: str, number: int, asked: Wire) -> tuple[Wire, Wire]:
        """Answer with a sum, once per round."""
        memory, place, cipher = self.memory(vault), KINDS.index(kind), self.ciphers[kind]
        count = len(ids_of(asked, "survivors", self.config.federation.num_clients))
        if number <= memory[place]:
            raise Refused(f"the sum of round {memory[place]} was opened")
        if "secret" not in vault or count < self.least[kind]:
            raise Refused(f"this host opens no sum of {count} clients, if any")
        (parts,) = wire.unpacked(asked, 1, cipher.ciphertexts)
        sums = cipher.decrypt(wire.raw(vault, "secret"), parts, count)
        memory[place] = number
        return {"sums": sums.astype("<i8").tobytes()}, self.remembering(vault, memory)

    def memory(self, vault: Wire) -> Tensor:
        """Return the last round whose sum the host has opened, ``(2,)``: by kind."""
        opened = wire.raw({"opened": bytes(8 * len(KINDS)), **vault}, "opened")
        return torch.tensor(np.frombuffer(opened, dtype="<i8"))

    def remembering(self, vault: Wire, memory: Tensor) -> Wire:
        """Return a vault whose memory is at least this one."""
        return {**vault, "opened": torch.maximum(self.memory(vault), memory).numpy().tobytes()}

    # on the server

    def prepare(self, what: Sum, ask: Ask) -> Wire:
        """Have a key handed round, if none is, and return what is sent along with a request."""
        if not self.key:
            there, clients = self._places(what), self.config.federation.num_clients
            told, _ = meeting.introductions(there, clients, self._run, ask, NAME)
            met = meeting.hand_round("meet", told, [*there], ask, NAME)
            for made in (back for back in met if "box" in back):
                meeting.hand_round("key", made, [*there], ask, NAME)
                self.key = wire.name_of(made)
            who = "every client" if self._holder == EVERYONE else f"client {self._holder}"
            logger.warning("%s: the server and %s together could read all rows", NAME, who)
        return {**heading(what, attempt=0), "key": self.key}

    def total(self, what: Sum, ask: Ask) -> tuple[tuple[int, ...], Tensor]:
        """Return whose rows are in the sum, and their mean; as ``HiddenSum.total``."""
        request, cipher = self.prepare(what, ask), self.ciphers[what.kind]
        there = {h: {*what.clients} & {*here} for h, here in self._places(what).items()}
        survivors: list[int] = []
        sums: list[list[bytes]] = []
        refusals: list[str] = []
        for host, back in ask("shares", {h: request for h, some in there.items() if some}).items():
            try:
                ids = ids_of(_told(back), "clients", self.config.federation.num_clients)
                if strangers := {*ids} - there[host]:
                    raise Refused(f"rows of clients {sorted(strangers)}, who were not asked there")
                vectors = wire.unpacked(_told(back), len(ids), cipher.ciphertexts)
                sums += [cipher.add(vectors)] if vectors else []
                survivors += ids
            except Refused as reason:
                refusals.append(f"host {host}: {reason}")
        count = len(survivors)
        if count < self.least[what.kind]:
            few = f"{NAME}: {count} clients sent rows, {self.least[what.kind]} are needed"
            raise TooFewClients("; ".join([few, *refusals[:TOLD]]))
        survivors.sort()
        message = {**request, "survivors": id_bytes(survivors), **wire.packed([cipher.add(sums)])}
        totals = self._opened(message, len(cipher.digits), what, ask)
        row = mean(self.config, what.kind, dequantise(totals, cipher.blocks), count)
        return tuple(survivors), torch.from_numpy(row)

    def _opened(self, message: Wire, size: int, what: Sum, ask: Ask) -> NDArray[np.int64]:
        """Return the sum that ciphertexts hold, from the first host that opens it."""
        places, refusals = self._places(what), []
        for host in sorted(places, key=lambda host: self._maker not in places[host]):
            if self._holder == EVERYONE or self._maker in places[host]:
                try:
                    back = _told(ask("sums", {host: message}).get(host, "no answer"))
                    if len(rows := entry(back, "sums", 8 * size)) != 1:
                        raise Refused(f"{len(rows)} sums")
                    return rows.view("<i8")[0].astype(np.int64)
                except Refused as reason:
                    refusals.append(f"host {host}: {reason}")
        self.key = b""  # who started anew has lost its key: have a new one made
        raise TooFewClients(f"{NAME}: nobody opens the sum; {'; '.join(refusals[:TOLD])}")

    def bytes_up(self) -> int:
        """Return the bytes of a client's message in a round of training."""
        return self.ciphers["train"].bytes_up

    @property
    def scores(self) -> list[str]:
        """Accuracy, loss, entropy of the routing, and loads."""
        return checks.scores(self.config)

    def state_dict(self) -> Memory:
        """Return nothing: keys are never kept, and what was opened the hosts remember."""
        return {}

    def load_state_dict(self, state: Memory) -> None:
        """Go on from a saved state, with a new key."""
        self.key = b""

    def _places(self, what: Sum) -> dict[int, range]:
        return meeting.places(self.config.federation.num_clients, what.hosts)

    @property
    def _holder(self) -> int:
        return self.config.privacy.key_client

    @property
    def _maker(self) -> int:
        return max(self._holder, 0)

    @property
    def _run(self) -> str:
        return f"encrypted, seed {self.config.federation.seed}"


def _told(back: Wire | str) -> Wire:
    """Return an answer; Refused if it says why there is none."""
    if isinstance(back, str):
        raise Refused(back)
    return back
