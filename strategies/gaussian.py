"""What mechanisms with Gaussian noise share: the accountant, clipping, sources of noise."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qmoe_fed import rng
from qmoe_fed.errors import UserError

SMALLEST_NOISE = 0.01  # One round spends an ε of some 5000.
SYSTEM, SEED = "system", "seed"


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


def exhausted(server_round: int, epsilon: float, delta: float, limit: float) -> Exception:
    """Return the exception that ends a run before a round that its budget does not allow."""
    # imported late: only a run that goes through Flower has use for it
    from flwr.serverapp.exception import PrivacyBudgetExhausted

    return PrivacyBudgetExhausted(
        f"round {server_round} would spend ε = {epsilon:.4g} at δ = {delta:g}, "
        f"more than max-epsilon = {limit:g}"
    )


def check_first_round(accountant: GaussianAccountant, given: float, limit: float) -> None:
    """Raise UserError if one round with this noise-multiplier already spends more than a limit."""
    if limit and (first := accountant.epsilon(1)) > limit:
        raise UserError(
            f"max-epsilon = {limit:g}: one round already spends {first:.4g} with "
            f"noise-multiplier = {given:g}"
        )


def seeded_noise(seed: int, purpose: str, size: int, server_round: int) -> Tensor:
    """Return standard normal numbers ``(size,)`` that are a function of seed, purpose and round."""
    return torch.from_numpy(rng.generator(seed, purpose, 0, server_round).standard_normal(size))


def seeded_rows(
    seed: int, purpose: str, clients: Sequence[int], size: int, server_round: int
) -> Tensor:
    """Return standard normal numbers ``(k, size)``, a stream for each client."""
    return torch.from_numpy(rng.normal(seed, purpose, clients, (size,), server_round))


def system_noise(*shape: int) -> Tensor:
    """Return standard normal numbers from the operating system's cryptographic generator.

    Each is the normal quantile of 53 random bits, so none lies beyond 8.3 standard deviations.
    """
    from scipy.special import ndtri

    count = int(np.prod(shape))
    bits: NDArray[np.uint64] = np.frombuffer(os.urandom(8 * count), np.uint64) >> np.uint64(11)
    return torch.from_numpy(ndtri((bits + 0.5) * 2.0**-53)).reshape(shape)
