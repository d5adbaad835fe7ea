"""Who trains in a round."""

import numpy as np

from qmoe_fed import rng
from qmoe_fed.errors import unknown


def sample_size(num_clients: int, fraction: float) -> int:
    """Return how many clients a fixed-size sample has: the nearest whole number, at least one."""
    return max(1, round(fraction * num_clients))


def sample_clients(
    num_clients: int, fraction: float, sampling: str, seed: int, server_round: int
) -> list[int]:
    """Return the ids of the clients that train in a round, ascending.

    Args:
        num_clients: Clients are 0 … num_clients - 1.
        fraction: Share of the clients that train, in (0, 1].
        sampling: ``"fixed"`` draws exactly ``sample_size`` clients without replacement;
            ``"poisson"`` takes each client with probability ``fraction``, independently: possibly
            nobody.
        seed: Seed of the run.
        server_round: Round; every round draws anew.

    Raises:
        UserError: There is no such way of sampling.
    """
    draws = rng.uniform(seed, "sampling", np.arange(num_clients), server_round=server_round)
    if sampling == "poisson":
        return np.flatnonzero(draws < fraction).tolist()
    if sampling == "fixed":
        first = np.argsort(draws, kind="stable")[: sample_size(num_clients, fraction)]
        return np.sort(first).tolist()
    raise unknown("sampling", sampling, ["fixed", "poisson"])
