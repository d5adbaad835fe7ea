"""Differential privacy of whole clients, with the server as the trusted party."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Self

import torch
from torch import Tensor

from qmoe_fed.config import Config
from qmoe_fed.errors import UserError
from qmoe_fed.federated.mechanism import Aggregate, Mechanism, Memory
from qmoe_fed.federated.updates import Cohort
from strategies import gaussian


@dataclass(eq=False)
class CentralDP(Mechanism):
    """Clips every client's update, sums, adds Gaussian noise, divides by a fixed number.

    DP-FedAvg with fixed clipping and the fixed-denominator estimator (McMahan et al., "Learning
    differentially private recurrent language models", 2018, Algorithm 1 with unit weights). The
    noise on each coordinate of the sum is N(0, (noise_multiplier · clip_norm)²), the denominator
    the expected number of clients in a round, fraction_train · num_clients. Clipping is done here
    and not on the client, where a malicious one could leave it out.

    With a ``clip_quantile`` γ the norm C follows that quantile of the clients' norms (Andrew et
    al., "Differentially private learning with adaptive clipping", 2021, Algorithm 1): b̄ is the
    noisy share of updates not longer than C, then C ← C · exp(-0.2 (b̄ - γ)). The sum and the count
    together are one Gaussian of multiplier z, see ``gaussian.with_count``.

    Covered, in the sense of (ε, δ)-DP for one client added or removed: the sequence of shared
    parameters of the run. Every round counts as spent and is released, also one in which clients
    failed or nobody was sampled; a client that fails counts as a zero update.

    Not covered: what the server itself sees; the metrics in the replies (training losses, numbers
    of examples) and whatever is logged or evaluated from them or from the clients' own models;
    who took part and who was left out; a client that brings down the other clients on its host.

    The samples of clients are functions of the seed, and with noise-source = 'seed' so is the
    noise: whoever knows the seed can subtract it. Not hardened against attacks on floating-point
    noise (Mironov, 2012): this is for research.

    Attributes:
        clip_norm: L2 norm to which an update is clipped; the sensitivity of the sum. Of this round,
            if it is adaptive.
        noise_multiplier: z, standard deviation of the noise over ``clip_norm``.
        num_clients: Size of the federation.
        sampling_rate: Probability with which each client takes part in a round; 1 for all.
        delta: δ at which ε is reported.
        max_epsilon: The run ends before the round that would exceed it; 0 for no such limit.
        noise_source: ``system``, cryptographic, or ``seed``, so that a run can be repeated.
        clip_quantile: γ, which share of the updates shall not be clipped; 0: a fixed norm.
        rounds: How many are spent.
    """

    clip_norm: float
    noise_multiplier: float
    num_clients: int
    sampling_rate: float = 1.0
    delta: float = 1e-5
    max_epsilon: float = 0.0
    noise_source: str = gaussian.SYSTEM
    clip_quantile: float = 0.0
    rounds: int = field(default=0, init=False)

    releases_empty_round: ClassVar[bool] = True

    def __post_init__(self) -> None:
        z = self.noise_multiplier
        self.denominator = self.sampling_rate * self.num_clients
        self.accountant = gaussian.GaussianAccountant(z, self.sampling_rate, self.delta)
        self.sum_noise, self.count_noise = z, 0.0
        if self.clip_quantile:
            self.sum_noise, self.count_noise = gaussian.with_count(z, self.denominator)

    @classmethod
    def from_config(cls, config: Config, options: dict[str, object]) -> Self:
        """Return the mechanism with the settings of the privacy section."""
        given, noise = config.privacy, config.privacy.noise_multiplier
        clients, rate = config.federation.num_clients, config.federation.fraction_train
        quantile = given.clip_quantile if given.clip == "adaptive" else 0.0
        limits = given.delta, given.max_epsilon
        return cls(given.clip_norm, noise, clients, rate, *limits, given.noise_source, quantile)

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
        gaussian.check_first_round(self.accountant.epsilon, self.noise_multiplier, self.max_epsilon)

    def before_round(self, server_round: int) -> None:
        """Spend the round, or end the run if the budget does not allow it."""
        after = self.accountant.epsilon(self.rounds + 1) if self.max_epsilon else 0.0
        if after > self.max_epsilon:
            raise gaussian.exhausted(server_round, after, self.delta, self.max_epsilon)
        self.rounds += 1

    def on_server(
        self, cohort: Cohort, aggregate: Aggregate, server_round: int, seed: int
    ) -> Tensor:
        """Return the noisy sum of the clipped updates over the expected number of clients."""
        norm = self.clip_norm
        total = gaussian.clip_rows(cohort.updates, norm).sum(0)
        noise = self._noise("central-dp", len(total), server_round, seed)
        if self.clip_quantile:
            short = torch.linalg.vector_norm(cohort.updates, dim=1) <= norm
            (extra,) = self._noise("clipped", 1, server_round, seed).tolist()
            count = float((short.double() - 0.5).sum()) + self.count_noise * extra
            share = 0.5 + count / self.denominator
            self.clip_norm = gaussian.next_norm(norm, share, self.clip_quantile)
        return (total + self.sum_noise * norm * noise) / self.denominator

    def _noise(self, purpose: str, size: int, server_round: int, seed: int) -> Tensor:
        if self.noise_source == gaussian.SEED:
            return gaussian.seeded_noise(seed, purpose, size, server_round)
        return gaussian.system_noise(size)

    def metrics(self) -> dict[str, float]:
        """Return the ε spent so far; and the norm of the next round, if it is adaptive."""
        norm = {"clip-norm": self.clip_norm} if self.clip_quantile else {}
        return {"epsilon": self.accountant.epsilon(self.rounds), **norm}

    def state_dict(self) -> Memory:
        """Return the number of rounds spent, and the norm of the next."""
        return {"rounds": self.rounds, "clip-norm": self.clip_norm}

    def load_state_dict(self, state: Memory) -> None:
        """Go on from a saved state."""
        self.rounds, self.clip_norm = int(state["rounds"]), float(state["clip-norm"])
