"""A small protocol to attack: every client on a host of its own, all on the committee."""

import numpy as np

from strategies.secure_sum import local
from strategies.secure_sum.fixed_point import Block
from strategies.secure_sum.settings import Session, Settings

N, SIZE = 8, 3
ALL = list(range(N))


def settings(**changes):
    """Return 8 clients, all members; 6 of them open a sum of at least 6."""
    base = {"run": "a", "clients": N, "blocks": (Block(SIZE, 2.0, 8),), "members": N}
    return Settings(**{**base, "threshold": 6, "least": 6, **changes})


def session(server_round=1, attempt=0, parameters=b"the same", **changes):
    return Session(settings(**changes), server_round, attempt, parameters)


def vectors(clients=range(N), size=SIZE, seed=0, limit=500):
    """Return integers by client."""
    draws = np.random.default_rng(seed).integers(-limit, limit + 1, (N, size))
    return {client: draws[client] for client in clients}


def sum_of(integers, clients):
    return sum(integers[client] for client in clients).tolist()


def hosts(groups=None):
    return local.meet(groups or [[client] for client in range(N)], "a")


def changing(phase, change, at=ALL):
    """Return the way on which a phase's messages to or from some hosts are changed."""
    return lambda now, host, wire: change(wire) if now == phase and host in at else wire


def flipped(name, bit=0):
    def change(wire):
        raw = bytearray(wire[name])
        raw[bit // 8] ^= 1 << bit % 8
        return {**wire, name: bytes(raw)}

    return change


def survivors_with(parties, carry, now=None):
    """Run an attempt that must give the exact sum of whoever survives; return these."""
    integers = vectors()
    survivors, total = local.attempt(parties, now or session(), integers, carry)
    assert total.tolist() == sum_of(integers, survivors)
    return survivors
