"""What mechanisms with noise share: accounts, clipping, sources of noise."""

import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qmoe_fed import rng
from qmoe_fed.errors import UserError
from qmoe_fed.federated.rules import sample_clients

SMALLEST_NOISE = 0.01  # One round spends an ε of some 5000.
SYSTEM, SEED = "system", "seed"
CLIP_RATE = 0.2  # of the steps of an adaptive norm (Andrew et al. 2021, section 3)

Epsilon = Callable[[int], float]
"""The ε that so many rounds spend."""

Sampling = tuple[int, float, str, int]
"""Number of clients, fraction-train, sampling and seed: who takes part in a round."""


@dataclass(frozen=True)
class GaussianAccountant:
    """Composes rounds of the Gaussian mechanism on a Poisson sample of the clients.

    Neighbouring federations differ by one client, added or removed. Each round releases a sum of
    sensitivity 1 with noise of standard deviation ``noise_multiplier``. The privacy loss
    distribution of a round is composed with itself numerically, which bounds ε(δ) closely from
    above (Doroshenko et al., "Connect the dots: tighter discrete approximations of privacy loss
    distributions", 2022, as implemented in Google's ``dp_accounting``).

    Attributes:
        noise_multiplier: σ, deviation of the noise over the sensitivity; UserError below 0.01.
        sampling_rate: Probability with which each client takes part in a round; 1 for all.
        delta: δ at which ε is reported.
    """

    noise_multiplier: float
    sampling_rate: float
    delta: float

    def __post_init__(self) -> None:
        if self.noise_multiplier < SMALLEST_NOISE:
            raise UserError(
                f"noise-multiplier = {self.noise_multiplier:g}: must be at least "
                f"{SMALLEST_NOISE:g}; with less there is no privacy to account for"
            )

    def epsilon(self, rounds: int) -> float:
        """Return the ε that so many rounds spend."""
        return _epsilon(self.noise_multiplier, self.sampling_rate, self.delta, rounds)


@lru_cache(maxsize=1024)
def _epsilon(sigma: float, sampling_rate: float, delta: float, rounds: int) -> float:
    if rounds == 0:
        return 0.0
    loss = _loss_of_a_round(sigma, sampling_rate)
    return float(loss.self_compose(rounds).get_epsilon_for_delta(delta))


@lru_cache(maxsize=8)
def _loss_of_a_round(sigma: float, sampling_rate: float) -> Any:
    # Imported late: it takes a second that runs without an accountant need not spend.
    from dp_accounting.pld.privacy_loss_distribution import from_gaussian_mechanism

    # A grid as coarse as this overstates ε by less than 0.2%, and never understates it.
    grid = 3e-3 / min(sigma, sigma**2)
    return from_gaussian_mechanism(
        sigma, sampling_prob=sampling_rate, value_discretization_interval=grid
    )


def clip_rows(updates: Tensor, norm: float) -> Tensor:
    """Return the rows ``(C, P)``, those longer than ``norm`` shortened to it (L2)."""
    lengths = torch.linalg.vector_norm(updates, dim=1, keepdim=True)
    return updates * (norm / lengths.clamp(min=norm))


def noisy_norm(clip: float, multiplier: float, size: int) -> float:
    """Return what the longest of many clipped updates ``(P,)`` is with noise, at most.

    Six deviations above what is expected.
    """
    return clip * (1 + multiplier * (math.sqrt(size) + 6))


def exhausted(server_round: int, epsilon: float, delta: float, limit: float) -> Exception:
    """Return the exception that ends a run before a round that its budget does not allow."""
    # imported late: only a run that goes through Flower has use for it
    from flwr.serverapp.exception import PrivacyBudgetExhausted

    return PrivacyBudgetExhausted(
        f"round {server_round} would spend ε = {epsilon:.4g} at δ = {delta:g}, "
        f"more than max-epsilon = {limit:g}"
    )


def check_first_round(epsilon: Epsilon, given: float, limit: float) -> None:
    """Raise UserError if one round with this noise-multiplier already spends more than a limit."""
    if limit and (first := epsilon(1)) > limit:
        raise UserError(
            f"max-epsilon = {limit:g}: one round already spends {first:.4g} with "
            f"noise-multiplier = {given:g}"
        )


def after_round(
    spent: Tensor, who: Sampling, server_round: int, epsilon: Epsilon, delta: float, limit: float
) -> Tensor:
    """Return in how many rounds each client has been asked, ``(n,)``, once this one is over.

    There is no credit for sampling: those against whom this holds know who is asked. What
    ``exhausted`` returns is raised if it is more than a limit, other than 0, for any client.
    """
    after = spent.clone()
    after[sample_clients(*who, server_round)] += 1
    if limit and (most := epsilon(int(after.max()))) > limit:
        raise exhausted(server_round, most, delta, limit)
    return after


def spent_metrics(spent: Tensor, epsilon: Epsilon) -> dict[str, float]:
    """Return the ε of one round, the most that a client has spent, and the clients' mean."""
    rounds, clients = spent.unique(return_counts=True)
    each = torch.tensor([epsilon(int(n)) for n in rounds], dtype=torch.float64)
    mean = float((each * clients).sum() / clients.sum())
    return {"epsilon": float(each.max()), "epsilon-mean": mean, "epsilon-round": epsilon(1)}


def with_count(multiplier: float, clients: float) -> tuple[float, float]:
    """Return the noise of a sum and of the count of clipped clients beside it, for one budget.

    Together they are one Gaussian of the multiplier z: the count has the deviation σ_b, a twentieth
    of the clients, the sum the multiplier (z⁻² - (2σ_b)⁻²)^(-1/2) (Andrew et al., "Differentially
    private learning with adaptive clipping", 2021, Theorem 1). UserError if there are too few.
    """
    count = clients / 20
    if multiplier >= 2 * count:
        raise UserError(
            f"clip = 'adaptive' with {clients:g} clients expected in a round: needs more than "
            f"{10 * multiplier:g} with noise-multiplier = {multiplier:g}; use clip = 'fixed'"
        )
    return float((multiplier**-2 - (2 * count) ** -2) ** -0.5), count


def next_norm(norm: float, share: float, quantile: float) -> float:
    """Return the norm of the next round, given the share of updates that this one's did not clip.

    Source: Andrew et al. 2021, Algorithm 1.
    """
    return norm * math.exp(-CLIP_RATE * (share - quantile))


def seeded_noise(seed: int, purpose: str, size: int, server_round: int) -> Tensor:
    """Return standard normal numbers ``(size,)`` that are a function of seed, purpose and round."""
    return torch.from_numpy(rng.generator(seed, purpose, 0, server_round).standard_normal(size))


def seeded_rows(
    seed: int, purpose: str, clients: Sequence[int], size: int, server_round: int
) -> Tensor:
    """Return standard normal numbers ``(k, size)``, a stream for each client."""
    return torch.from_numpy(rng.normal(seed, purpose, clients, (size,), server_round))


def system_uniform(*shape: int) -> NDArray[np.float64]:
    """Return numbers in (0, 1), 53 bits each, from the operating system's generator."""
    count = int(np.prod(shape))
    bits: NDArray[np.uint64] = np.frombuffer(os.urandom(8 * count), np.uint64) >> np.uint64(11)
    return ((bits.astype(np.float64) + 0.5) * 2.0**-53).reshape(shape)


def system_noise(*shape: int) -> Tensor:
    """Return standard normal numbers from the operating system's cryptographic generator.

    Each is the normal quantile of 53 random bits, so none lies beyond 8.3 standard deviations.
    """
    from scipy.special import ndtri

    return torch.from_numpy(ndtri(system_uniform(*shape)))
