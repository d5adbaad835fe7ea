"""Files that tell a host who is who, so that it need not ask the server.

    python -m strategies.secure_sum.identities FOLDER CLIENTS

makes ``roster.json``, everyone's public signing keys, and ``client-‹id›.key``, the private ones. A
host gets the roster and its own clients' keys in a folder that it names when it is started:
``flower-supernode … --node-config "partition-id=0 num-partitions=2 identities='/path'"``.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from qmoe_fed.errors import UserError
from strategies.secure_sum.keys import new_identities, roster_of


def write(folder: Path, clients: int) -> None:
    """Make new identities of clients 0 … ``clients`` - 1."""
    folder.mkdir(parents=True, exist_ok=True)
    identities = new_identities(range(clients))
    for client, key in identities.items():
        file = folder / f"client-{client}.key"
        file.touch(mode=0o600)
        file.write_text(key.private_bytes_raw().hex())
    roster = {client: public.hex() for client, public in roster_of(identities).items()}
    (folder / "roster.json").write_text(json.dumps(roster, indent=1))


def read(
    folder: Path, clients: Sequence[int]
) -> tuple[dict[int, Ed25519PrivateKey], dict[int, bytes]]:
    """Return the private keys of some clients, and everyone's public ones.

    Raises:
        UserError: A file is missing or cannot be read.
    """
    file = folder / "roster.json"
    try:
        roster = {int(c): bytes.fromhex(key) for c, key in json.loads(file.read_text()).items()}
        own = {}
        for client in clients:
            file = folder / f"client-{client}.key"
            own[client] = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(file.read_text()))
    except (OSError, ValueError, AttributeError) as error:
        raise UserError(
            f"secure-sum: cannot read {file}: {error}; make such files with "
            "python -m strategies.secure_sum.identities FOLDER CLIENTS"
        ) from error
    return own, roster


if __name__ == "__main__":
    write(Path(sys.argv[1]), int(sys.argv[2]))
