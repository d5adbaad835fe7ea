"""Differential privacy of whole clients, with the server as the trusted party."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from qmoe_fed import rng
from qmoe_fed.config import Config
from qmoe_fed.errors import UserError
from qmoe_fed.federated.mechanism import Aggregate, Mechanism, Memory
from qmoe_fed.federated.updates import Cohort

SMALLEST_NOISE = 0.01  # One round spends an ε of some 5000.


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
        if rounds == 0:
            return 0.0
        loss = _loss_of_a_round(self.noise_multiplier, self.sampling_rate)
        return float(loss.self_compose(rounds).get_epsilon_for_delta(self.delta))


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


@dataclass(eq=False)
class CentralDP(Mechanism):
    """Clips every client's update, sums, adds Gaussian noise, divides by a fixed number.

    DP-FedAvg with fixed clipping and the fixed-denominator estimator (McMahan et al., "Learning
    differentially private recurrent language models", 2018, Algorithm 1 with unit weights). The
    noise on each coordinate of the sum is N(0, (noise_multiplier · clip_norm)²), the denominator
    the expected number of clients in a round, fraction_train · num_clients. Clipping is done here
    and not on the client, where a malicious one could leave it out.

    Covered, in the sense of (ε, δ)-DP for one client added or removed: the sequence of shared
    parameters of the run. Every round counts as spent and is released, also one in which clients
    failed or nobody was sampled; a client that fails counts as a zero update.

    Not covered: what the server itself sees; the metrics in the replies (training losses, numbers
    of examples) and whatever is logged or evaluated from them or from the clients' own models;
    who took part and who was left out; a client that brings down the other clients on its host.

    The noise and the samples of clients are functions of the seed, so that a run can be repeated.
    Whoever knows the seed can subtract the noise. It is not cryptographically secure, nor hardened
    against attacks on floating-point noise (Mironov, 2012): this is for research.

    Attributes:
        clip_norm: L2 norm to which an update is clipped; the sensitivity of the sum.
        noise_multiplier: Standard deviation of the noise over ``clip_norm``.
        num_clients: Size of the federation.
        sampling_rate: Probability with which each client takes part in a round; 1 for all.
        delta: δ at which ε is reported.
        max_epsilon: The run ends before the round that would exceed it; 0 for no such limit.
        rounds: How many are spent.
    """

    clip_norm: float
    noise_multiplier: float
    num_clients: int
    sampling_rate: float = 1.0
    delta: float = 1e-5
    max_epsilon: float = 0.0
    rounds: int = field(default=0, init=False)

    releases_empty_round: ClassVar[bool] = True

    def __post_init__(self) -> None:
        self.denominator = self.sampling_rate * self.num_clients
        self.accountant = GaussianAccountant(self.noise_multiplier, self.sampling_rate, self.delta)

    @classmethod
    def from_config(cls, config: Config, options: dict[str, object]) -> Self:
        """Return the mechanism with the settings of the privacy section."""
        given, noise = config.privacy, config.privacy.noise_multiplier
        clients, rate = config.federation.num_clients, config.federation.fraction_train
        return cls(given.clip_norm, noise, clients, rate, given.delta, given.max_epsilon)

    def check(self, config: Config, chain: Sequence[Mechanism]) -> None:
        """Refuse settings under which the reported ε would not be true."""
        federation, strategy = config.federation, config.strategy
        if federation.fraction_train < 1 and federation.sampling != "poisson":
            raise UserError(
                f"mechanisms = 'central-dp' with fraction-train = {federation.fraction_train:g}: "
                "the accountant holds for sampling = 'poisson', not for samples of a fixed size"
            )
        if strategy.aggregator != "mean" or strategy.weighting != "uniform":
            raise UserError(
                "mechanisms = 'central-dp' bounds one client's influence on an unweighted sum; set "
                "aggregator = 'mean' and weighting = 'uniform' (got "
                f"{strategy.aggregator!r}, {strategy.weighting!r})"
            )
        if strategy.quorum > 0:
            raise UserError(
                f"mechanisms = 'central-dp' with quorum = {strategy.quorum:g}: whether a round "
                "counts could hang on one client; set quorum = 0 and every round is released"
            )
        if chain[-1] is not self or any(other.has_server_half for other in chain[:-1]):
            raise UserError(
                "mechanisms: 'central-dp' must be the last and the only one that works on the "
                "server, else others could undo the bound on one client's influence"
            )
        if self.max_epsilon and (first := self.accountant.epsilon(1)) > self.max_epsilon:
            raise UserError(
                f"max-epsilon = {self.max_epsilon:g}: one round already spends {first:.4g} with "
                f"noise-multiplier = {self.noise_multiplier:g}"
            )

    def before_round(self, server_round: int) -> None:
        """Spend the round, or end the run if the budget does not allow it."""
        after = self.accountant.epsilon(self.rounds + 1) if self.max_epsilon else 0.0
        if after > self.max_epsilon:
            # imported late: only a run that goes through Flower has use for it
            from flwr.serverapp.exception import PrivacyBudgetExhausted

            raise PrivacyBudgetExhausted(
                f"round {server_round} would spend ε = {after:.4g} at δ = {self.delta:g}, "
                f"more than max-epsilon = {self.max_epsilon:g}"
            )
        self.rounds += 1

    def on_server(
        self, cohort: Cohort, aggregate: Aggregate, server_round: int, seed: int
    ) -> Tensor:
        """Return the noisy sum of the clipped updates over the expected number of clients."""
        total = clip_rows(cohort.updates, self.clip_norm).sum(0)
        draws = rng.generator(seed, "central-dp", 0, server_round).standard_normal(len(total))
        noise = self.noise_multiplier * self.clip_norm * torch.from_numpy(draws)
        return (total + noise) / self.denominator

    def metrics(self) -> dict[str, float]:
        """Return the ε spent so far."""
        return {"epsilon": self.accountant.epsilon(self.rounds)}

    def state_dict(self) -> Memory:
        """Return the number of rounds spent."""
        return {"rounds": self.rounds}

    def load_state_dict(self, state: Memory) -> None:
        """Go on from a saved state."""
        self.rounds = int(state["rounds"])
