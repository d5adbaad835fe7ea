"""Explicit randomness: every number is a function of (seed, purpose, client, round).

A stream per client costs no object: the numbers of K clients are one array expression, and a
client's numbers do not depend on which other clients are asked for beside it. The generator is
SplitMix64 (Steele, Lea & Flood, "Fast splittable pseudorandom number generators", 2014), whose
output is a bijective mix of a counter, so it can be evaluated for many keys at once.
"""

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["generator", "normal", "permutation", "uniform"]

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)

Clients = Sequence[int] | NDArray[np.int64]


def _mix(z: NDArray[np.uint64]) -> NDArray[np.uint64]:
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def _keys(seed: int, purpose: str, clients: Clients, server_round: int) -> NDArray[np.uint64]:
    digest = hashlib.sha256(f"{seed}/{purpose}/{server_round}".encode()).digest()
    base = np.frombuffer(digest[:8], dtype=np.uint64)
    return _mix(base + _GOLDEN * np.asarray(clients, dtype=np.uint64))


def uniform(
    seed: int, purpose: str, clients: Clients, shape: tuple[int, ...] = (), server_round: int = 0
) -> NDArray[np.float64]:
    """Return uniform numbers in [0, 1), shape ``(len(clients), *shape)``, one stream per client."""
    keys = _keys(seed, purpose, clients, server_round)
    counter = np.arange(1, int(np.prod(shape)) + 1, dtype=np.uint64) * _GOLDEN
    bits = _mix(keys[:, None] + counter)
    return ((bits >> np.uint64(11)).astype(np.float64) * 2.0**-53).reshape(len(keys), *shape)


def normal(
    seed: int, purpose: str, clients: Clients, shape: tuple[int, ...] = (), server_round: int = 0
) -> NDArray[np.float64]:
    """Return standard normal numbers, shape ``(len(clients), *shape)`` (Box and Muller, 1958)."""
    u = uniform(seed, purpose, clients, (2, *shape), server_round)
    radius: NDArray[np.float64] = np.sqrt(-2.0 * np.log1p(-u[:, 0]))
    return radius * np.cos(2.0 * np.pi * u[:, 1])


def permutation(
    seed: int,
    purpose: str,
    clients: Clients,
    counts: NDArray[np.int64],
    repeats: int = 1,
    server_round: int = 0,
) -> NDArray[np.int64]:
    """Return shuffled row numbers, shape ``(K, repeats, max(counts))``.

    The first ``counts[k]`` entries of client k are a permutation of ``range(counts[k])``; the
    padding follows in order.
    """
    size = int(counts.max(initial=0))
    # One stream per repeat: a client's order must not depend on the longest client beside it.
    keys = np.stack(
        [uniform(seed, f"{purpose}/{r}", clients, (size,), server_round) for r in range(repeats)],
        axis=1,
    )
    padding = np.arange(size) >= counts[:, None, None]
    return np.argsort(np.where(padding, 2.0, keys), axis=-1, kind="stable")


def generator(
    seed: int, purpose: str, client: int = 0, server_round: int = 0
) -> np.random.Generator:
    """Return a NumPy generator for one (seed, purpose, client, round), for library calls."""
    return np.random.Generator(
        np.random.Philox(key=int(_keys(seed, purpose, [client], server_round)[0]))
    )
