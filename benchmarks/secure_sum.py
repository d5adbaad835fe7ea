"""Secure sums with all cryptography really done, every client and the server in one process.

For comparison, as published: with 10⁴ clients, 5% of them corrupt and 5% lost, a client of the
SecAgg+ protocol deals with 3% of the others in every round (Bell et al., "Secure single-server
aggregation with (poly)logarithmic overhead", 2020, abstract); ours deals with the committee.
"""

from collections.abc import Iterable, Iterator
from time import process_time

import numpy as np
from timing import Result, peak_megabytes, spread

from strategies.secure_sum import local
from strategies.secure_sum.fixed_point import Block, dequantise, quantise
from strategies.secure_sum.parameters import committee_size, least_survivors
from strategies.secure_sum.settings import Session, Settings

SECAGG_PLUS = {(10_000, 0.05, True): 300}  # others, by clients, corrupt and lost share, malicious


def measure(cases: Iterable[tuple[int, int, float, bool]], rounds: int = 3) -> Iterator[Result]:
    """Time the agreement on keys, once, and rounds in which all clients take part.

    Args:
        cases: Clients, coordinates, share of corrupt clients, whether the server may lie; a tenth
            of the clients may be lost, or as many as are corrupt if these are fewer.
        rounds: How many to time.

    Raises:
        RuntimeError: A sum is wrong.
    """
    for clients, size, corrupt, malicious in cases:
        lost = min(0.1, corrupt)
        members, threshold = committee_size(clients, corrupt, lost, malicious)
        least = least_survivors(clients, clients, corrupt, lost)
        blocks = (Block(size, 1.0),)
        settings = Settings("", clients, blocks, members, threshold, least, malicious)
        before = process_time()
        (host,) = local.meet([range(clients)], settings.run)
        host.party.agreed(settings.committee)
        once, seconds = process_time() - before, []
        for number in range(1, rounds + 1):
            values = np.random.default_rng(number).normal(0, 0.01, (clients, size))
            before = process_time()
            integers = dict(enumerate(quantise(values, blocks)))
            session = Session(settings, number, 0, b"")
            total = dequantise(local.attempt([host], session, integers)[1], blocks)
            seconds.append(process_time() - before)
            if not np.allclose(total, values.sum(0), rtol=0, atol=clients * 2.0**-24):
                raise RuntimeError(f"{clients} clients: a wrong sum")
        yield {
            "clients": clients,
            "size": size,
            "corrupt": corrupt,
            "malicious server": malicious,
            "members": members,
            "threshold": threshold,
            "seconds": {"keys, once": spread([once]), "round": spread(seconds)},
            "bytes up": 16 + members * settings.box,
            "bytes down to a member": clients * (16 + settings.box),
            "SecAgg+, others": SECAGG_PLUS.get((clients, corrupt, malicious), ""),
            "megabytes": peak_megabytes(),
        }
