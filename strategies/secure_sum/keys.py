"""Who is who, and the keys that two clients agree on.

A client has a signing key for good (Ed25519), whose public half the others know from their own
config, and an agreement key for a run (X25519), which it signs and which the server hands round.
Clients on one host are one trust domain: they check another client's signature once.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from qmoe_fed.federated.hidden import Refused, Wire
from strategies.secure_sum.settings import LABEL
from strategies.secure_sum.wire import entry, id_bytes, ids_of, joined

Roster = Mapping[int, bytes]
"""Clients' public signing keys, 32 bytes each: a matter of trust, not of this protocol."""

KEY, SIGNATURE = 32, 64
_KEYS = {"publics": KEY, "signatures": SIGNATURE, "identities": KEY}


Keys = Mapping[int, Mapping[int, bytes]]
"""AES keys by the own client and the other one; none for who has not introduced itself."""


@dataclass(frozen=True, eq=False)
class Party:
    """A host of clients: what it knows, and what never leaves it.

    Attributes:
        run: Name of the run.
        signing: Private signing keys of its clients, by their ids.
        agreement: Their private agreement keys: for one run, and not kept beyond it.
        roster: Whose signatures count.
        publics: Public agreement keys of the clients that have introduced themselves.
    """

    run: str
    signing: Mapping[int, Ed25519PrivateKey] = field(repr=False)
    agreement: Mapping[int, X25519PrivateKey] = field(repr=False)
    roster: Roster = field(repr=False)
    publics: Mapping[int, bytes] = field(default_factory=dict, repr=False)
    _agreed: dict[tuple[int, ...], tuple[Keys, Keys]] = field(default_factory=dict, repr=False)

    @property
    def clients(self) -> list[int]:
        """Ids of the clients that live here, ascending."""
        return sorted(self.signing)

    def agreed(self, committee: tuple[int, ...]) -> tuple[Keys, Keys]:
        """Return the keys to send with and to receive with, agreed on once per committee.

        The former are of the clients here × members, the latter of the members here × clients.
        """
        if committee not in self._agreed:
            self._agreed.clear()  # an old committee's keys are of no use
            loaded = {c: X25519PublicKey.from_public_bytes(p) for c, p in self.publics.items()}
            here = {c: key for c, key in self.agreement.items() if c in loaded}
            known = [m for m in committee if m in loaded]
            mine = [m for m in known if m in here]
            self._agreed[committee] = (
                {c: {m: self._key(c, m, here[c], loaded[m]) for m in known} for c in here},
                {m: {c: self._key(c, m, here[m], loaded[c]) for c in loaded} for m in mine},
            )
        return self._agreed[committee]

    def _key(
        self, sender: int, receiver: int, own: X25519PrivateKey, other: X25519PublicKey
    ) -> bytes:
        ends = id_bytes([sender, receiver]) + self.publics[sender] + self.publics[receiver]
        info = LABEL + b" share" + ends + self.run.encode()
        derive = HKDF(algorithm=SHA256(), length=32, salt=None, info=info)
        return derive.derive(own.exchange(other))


def new_identities(clients: Sequence[int]) -> dict[int, Ed25519PrivateKey]:
    """Return new signing keys."""
    return {client: Ed25519PrivateKey.generate() for client in clients}


def roster_of(identities: Mapping[int, Ed25519PrivateKey]) -> dict[int, bytes]:
    """Return the public halves of signing keys."""
    return {client: key.public_key().public_bytes_raw() for client, key in identities.items()}


def start(
    identities: Mapping[int, Ed25519PrivateKey], roster: Roster, run: str
) -> tuple[Party, Wire]:
    """Return a host with new keys for a run, and the message that introduces its clients."""
    clients = sorted(identities)
    agreement = {client: X25519PrivateKey.generate() for client in clients}
    publics = [agreement[client].public_key().public_bytes_raw() for client in clients]
    signed = [
        identities[client].sign(_introduction(run, client, public))
        for client, public in zip(clients, publics, strict=True)
    ]
    wire: Wire = {
        "clients": id_bytes(clients),
        "publics": b"".join(publics),
        "signatures": b"".join(signed),
        "identities": b"".join(roster_of({c: identities[c] for c in clients}).values()),
    }
    return Party(run, identities, agreement, roster), wire


def _introduction(run: str, client: int, public: bytes) -> bytes:
    return LABEL + b" key" + id_bytes([client]) + public + run.encode()


def join_keys(wires: Sequence[Wire], clients: int) -> Wire:
    """Return all introductions as the one that the server hands round."""
    return joined(wires, _KEYS, "clients", clients)


def meet(party: Party, introductions: Wire) -> Party:
    """Return a host that knows who has introduced itself.

    A host without a roster believes who they say they are.

    Raises:
        Refused: As ``read_keys``.
    """
    roster = party.roster or claimed(introductions, 2**32)
    publics = read_keys(introductions, roster, party.run)
    return replace(party, roster=roster, publics=publics, _agreed={})


def claimed(wire: Wire, clients: int) -> dict[int, bytes]:
    """Return the roster that introductions would have one believe in; Refused if malformed."""
    rows = joined([wire], _KEYS, "clients", clients)
    identities = entry(rows, "identities", KEY)
    ids = ids_of(rows, "clients", clients)
    return {client: key.tobytes() for client, key in zip(ids, identities, strict=True)}


def read_keys(wire: Wire, roster: Roster, run: str) -> dict[int, bytes]:
    """Return clients' public agreement keys.

    Raises:
        Refused: One is not signed, for this run, by the client that the roster knows.
    """
    clients = ids_of(wire, "clients", max(roster, default=-1) + 1)
    publics, signatures = entry(wire, "publics", KEY), entry(wire, "signatures", SIGNATURE)
    if not len(clients) == len(publics) == len(signatures):
        raise Refused(f"{len(clients)} clients with {len(publics)} keys")
    result, probe = {}, X25519PrivateKey.generate()
    for client, public, signature in zip(clients, publics, signatures, strict=True):
        result[client] = public.tobytes()
        statement = _introduction(run, client, result[client])
        if not is_signed(roster, client, signature.tobytes(), statement):
            raise Refused(f"the key of client {client} is not signed by it for run {run!r}")
        try:
            probe.exchange(X25519PublicKey.from_public_bytes(result[client]))
        except ValueError as error:  # a point of low order: anyone would know what is agreed on
            raise Refused(f"client {client} introduces itself with a key that is none") from error
    return result


def is_signed(roster: Roster, client: int, signature: bytes, statement: bytes) -> bool:
    """Return whether a client of the roster signed a statement."""
    if client not in roster:
        return False
    try:
        Ed25519PublicKey.from_public_bytes(roster[client]).verify(signature, statement)
    except InvalidSignature:
        return False
    return True
