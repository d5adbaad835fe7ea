"""How hosts get to know each other at the start of a run, through a server that carries it all."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

from qmoe_fed.federated.hidden import Ask, Refused, Wire
from strategies.secure_sum import identities, keys
from strategies.secure_sum.vault import keys_of

logger = logging.getLogger(__name__)


def places(clients: int, hosts: int) -> dict[int, range]:
    """Return which clients live on which host."""
    return {host: range(host, clients, hosts) for host in range(hosts)}


def introduce(vault: Wire, clients: Sequence[int], run: str) -> tuple[Wire, Wire]:
    """Return a host's introduction, with new keys for a run, and these keys for its vault."""
    folder, signing = vault.get("identities"), keys.new_identities(clients)
    roster: dict[int, bytes] = {}
    if isinstance(folder, bytes) and folder:
        signing, roster = identities.read(Path(folder.decode()).expanduser(), clients)
    party, wire = keys.start(signing, roster, run)
    believes = folder is not None and not roster
    return {**wire, "believes": int(believes)}, keys_of(party)


def introductions(
    there: Mapping[int, range], clients: int, run: str, ask: Ask, name: str
) -> tuple[Wire, dict[int, bytes]]:
    """Return all hosts' introductions as one message, and the keys in it by client.

    Args:
        there: As ``places``.
        clients: How many there are.
        run: Name of the run.
        ask: Carries messages; a host that answers with nonsense has no part in the run.
        name: Of the mechanism, for the log.
    """
    good, publics = [], dict[int, bytes]()
    for host, wire in ask("keys", {host: {} for host in there}).items():
        try:
            if isinstance(wire, str):
                raise Refused(wire)
            found = keys.read_keys(wire, keys.claimed(wire, clients), run)
            if strangers := found.keys() - set(there[host]):
                raise Refused(f"keys for clients {sorted(strangers)}, who are not there")
        except Refused as reason:
            logger.warning("%s: host %d has no part in the run: %s", name, host, reason)
            continue
        good.append(wire)
        publics |= found
    if believing := sum(wire.get("believes") == 1 for wire in good):
        logger.warning(
            "%s: %d of %d hosts believe the server who the others are (no identities in their "
            "node-config): that protects from a server that looks, not from one that lies",
            name,
            believing,
            len(there),
        )
    return keys.join_keys(good, clients), publics


def hand_round(phase: str, message: Wire, hosts: Sequence[int], ask: Ask, name: str) -> list[Wire]:
    """Send all hosts the same; return the answers of those that do not refuse."""
    answers = ask(phase, dict.fromkeys(hosts, message))
    for host, back in answers.items():
        if isinstance(back, str):
            logger.warning("%s: host %d has not met the others: %s", name, host, back)
    return [back for back in answers.values() if not isinstance(back, str)]
