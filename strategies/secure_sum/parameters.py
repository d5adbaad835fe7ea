"""How many clients sit on the committee, and how many of them it takes."""

import math
from itertools import accumulate

from qmoe_fed.errors import UserError
from strategies.secure_sum.field import MOST_MEMBERS

SECURITY, CORRECTNESS = 40, 20  # bits
ALL_MEMBERS = 20  # up to so many clients, all are members


def count(share: float, clients: int) -> int:
    """Return a share of the clients as a number of them, rounded up."""
    return math.ceil(share * clients - 1e-9)


def committee_size(
    clients: int, corrupt: float, dropouts: float, malicious: bool
) -> tuple[int, int]:
    """Return the smallest committee m and its threshold t; all clients if they are few.

    Members are drawn without replacement, so the corrupt ones and the dropped ones among them
    are hypergeometric. With X corrupt, the sum of t shares is out of their reach if X < t, and a
    server that lies cannot have two lists of survivors agreed on if X < 2t - m: two sets of t
    members then share an honest one. Both hold but with probability 2⁻⁴⁰; at least t members stay
    but with probability 2⁻²⁰. Who is corrupt must not depend on the draw. Where there is a
    choice, t is the largest; it is at least 2, since with 1 a share is the secret.

    Args:
        clients: n, all that may be drawn.
        corrupt: Share of them, at most, that work with the server.
        dropouts: Share of them, at most, that fall silent in a round.
        malicious: Whether the server may lie, and not only look.

    Raises:
        UserError: There is no such committee.
    """
    bad, lost = count(corrupt, clients), count(dropouts, clients)
    fewest = clients if clients <= ALL_MEMBERS else 2
    for members in range(fewest, min(clients, MOST_MEMBERS) + 1):
        too_many = _too_improbable(clients, bad, members, SECURITY)
        missing = _too_improbable(clients, lost, members, CORRECTNESS) - 1
        threshold = members - missing
        excess = 2 * threshold - members if malicious else threshold
        if threshold >= 2 and threshold >= too_many and excess >= too_many:
            return members, threshold
    raise UserError(
        f"secure-sum: no committee of at most {min(clients, MOST_MEMBERS)} among {clients} clients "
        f"stands {bad} corrupt and {lost} dropped ones{' and a server that lies' * malicious}; "
        "assume fewer, or have more clients"
    )


def _too_improbable(clients: int, marked: int, members: int, bits: int) -> int:
    """Return the least k such that k or more members are marked with at most 2^-bits."""
    descending = range(members, -1, -1)
    ways = accumulate(
        math.comb(marked, k) * math.comb(clients - marked, members - k) for k in descending
    )
    rare = sum(tail << bits <= math.comb(clients, members) for tail in ways)
    return members + 1 - rare


def least_survivors(contributors: int, clients: int, corrupt: float, dropouts: float) -> int:
    """Return with how few survivors a sum may be opened: all but the share that may drop out.

    Args:
        contributors: How many clients send a vector in a round.
        clients: As for ``committee_size``, like the rest; all corrupt ones may be survivors.

    Raises:
        UserError: Without the corrupt clients' part such a sum is one client's vector.
    """
    least = contributors - count(dropouts, contributors)
    if least - (bad := count(corrupt, clients)) < 2:
        raise UserError(
            f"secure-sum: of {contributors} clients in a round as few as {least} may be left, and "
            f"{bad} of these may be corrupt: the sum would show one client's vector; have more "
            "clients, or assume fewer dropouts or corrupt ones"
        )
    return least
