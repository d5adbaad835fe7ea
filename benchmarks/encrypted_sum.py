"""Encrypted sums: what a round costs, and what encryption does to what is learnt.

MQFL-FHE (Dutta et al., arXiv:2412.01858) encrypts with CKKS, N = 8192, primes of 60, 40, 40 and 60
bits: here ``ckks-8192``.
"""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from time import process_time

import numpy as np
from timing import Result, spread

from qmoe_fed.config import Config
from qmoe_fed.config.settings import read_toml
from qmoe_fed.federated import Federation
from strategies.encrypted_sum.cipher import SCHEMES, Cipher, new_key
from strategies.secure_sum.fixed_point import Block, dequantise, quantise

CONFIG = Path(__file__).parents[1] / "configs" / "mqfl_fhe.toml"

WAYS = {
    "router": {"share": "router"},
    "router and prior": {"share": "prior", "expert-features": "router"},
    "whole model (FedAvg)": {"share": "all", "expert-fit": "gradient"},
}


def costs(cases: Iterable[tuple[str, int, int]], rounds: int = 3) -> Iterator[Result]:
    """Time sums of updates and a loss, all cryptography really done.

    Args:
        cases: Scheme, clients, and parameters that are shared.
        rounds: How many to time.

    Raises:
        RuntimeError: A sum is wrong.
    """
    for scheme, clients, size in cases:
        cipher = Cipher(SCHEMES[scheme], (Block(size, 1.0), Block(1, 100.0)), clients)
        started = process_time()
        secret, public = new_key(cipher.scheme)
        cipher.encrypt(public, np.zeros(size + 1, np.int64))  # reads the key
        times: dict[str, list[float]] = {"key": [process_time() - started]}
        for number in range(rounds):
            noise = np.random.default_rng(number).normal(0, 1, (clients, size + 1))
            values = noise / (2 * size**0.5)  # shorter than 1: nothing is clipped
            clock = [process_time()]
            integers = quantise(values, cipher.blocks)
            sent = [cipher.encrypt(public, row) for row in integers]
            clock.append(process_time())
            added = cipher.add(sent)
            clock.append(process_time())
            total = dequantise(cipher.decrypt(secret, added, clients), cipher.blocks)
            clock.append(process_time())
            encrypt, add, opened = np.diff(clock).tolist()
            for name, value in (("a client", encrypt / clients), ("server", add), ("open", opened)):
                times.setdefault(name, []).append(value)
            if not np.allclose(total, values.sum(0), rtol=0, atol=clients * 1e-5):
                raise RuntimeError(f"{scheme}, {clients} clients: a wrong sum")
        yield {
            "scheme": scheme,
            "clients": clients,
            "parameters": size,
            "ciphertexts": cipher.ciphertexts,
            "bytes up": sum(map(len, sent[0])),
            "bytes up in clear": 4 * size,
            "bytes down to who opens": sum(map(len, added)),
            "bytes of the key, once": len(public),
            "seconds": {name: spread(values) for name, values in times.items()},
        }


def runs(
    data: Path | None, schemes: Sequence[str], seeds: Sequence[int], **changes: int
) -> Iterator[Result]:
    """Run MQFL-FHE's federation on MNIST in clear and encrypted, with parts of the model shared.

    Args:
        data: Folder ``mnist`` with its four files; by default where they were downloaded to.
        schemes: Of encryption.
        seeds: Of data, parameters and rounding.
        changes: Settings other than those of ``CONFIG``, with underscores.
    """
    base = read_toml(CONFIG) | {"data-dir": str(data.absolute().parent) if data else ""}
    base |= {name.replace("_", "-"): value for name, value in changes.items()}
    for way, seed in ((way, seed) for way in WAYS for seed in seeds):
        clear: np.ndarray | None = None
        for scheme in ("none", *schemes):
            hidden = {"mechanisms": ""} if scheme == "none" else {"he-scheme": scheme}
            federation = Federation(Config.from_flat({**base, **WAYS[way], **hidden, "seed": seed}))
            state, started = federation.init(), process_time()
            rounds = base["num-server-rounds"]
            for _ in range(rounds):
                state, _ = federation.round(state)
            used = process_time() - started
            flat = federation.model.layout.flat(state.shared).numpy()
            clear = flat if clear is None else clear
            yield {
                "shared": way,
                "parameters": len(flat),
                "scheme": scheme,
                "seed": seed,
                "accuracy": federation.score(state).columns["accuracy"].mean().item(),
                "rounds counted": state.counted,
                "seconds": {"round": spread([used / rounds])},
                "farthest from clear": float(np.abs(flat - clear).max()),
            }
