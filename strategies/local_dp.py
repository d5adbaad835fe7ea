"""Differential privacy of each client's own updates, against everybody else: the server too."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Self

import torch
from torch import Tensor

from qmoe_fed.config import Config
from qmoe_fed.errors import UserError
from qmoe_fed.federated.mechanism import Mechanism, Memory
from qmoe_fed.federated.model import Model
from strategies import gaussian


@dataclass(eq=False)
class LocalDP(Mechanism):
    """Each client clips its update and adds Gaussian noise before it leaves the host.

    Neighbouring data sets are all that one client has and anything else (replace-one), so that a
    client's clipped update may move by 2 · clip_norm. The noise on each coordinate is
    N(0, (noise_multiplier · clip_norm)²): rounds compose as Gaussians of multiplier
    noise_multiplier / 2. A client spends in the rounds for which it is sampled; who is sampled is
    known to the server, so there is no credit for it.

    Covered, in the sense of (ε, δ)-DP for each client: the sequence of its updates, and so all that
    is made of them. Not covered: its training loss, number of samples and scores, which travel
    beside them; that it takes part and whether it fails; what its own host does; a server that asks
    more often than it says, for the account is the server's. Not hardened against attacks on
    floating-point noise (Mironov, 2012): this is for research.

    Attributes:
        clip_norm: L2 norm to which an update is clipped.
        noise_multiplier: Standard deviation of the noise over ``clip_norm``.
        sampling: Number of clients, fraction-train, sampling and seed: who is sampled.
        delta: δ at which ε is reported.
        max_epsilon: The run ends before the round in which a client would exceed it; 0: no limit.
        noise_source: ``system``, cryptographic; or ``seed``, for experiments: whoever knows the
            seed can subtract the noise.
        spent: In how many rounds each client was asked to take part.
    """

    clip_norm: float
    noise_multiplier: float
    sampling: gaussian.Sampling
    delta: float = 1e-5
    max_epsilon: float = 0.0
    noise_source: str = gaussian.SYSTEM
    spent: Tensor = field(init=False)

    def __post_init__(self) -> None:
        if self.noise_multiplier < 2 * gaussian.SMALLEST_NOISE:
            raise UserError(
                f"noise-multiplier = {self.noise_multiplier:g}: local-dp needs at least "
                f"{2 * gaussian.SMALLEST_NOISE:g}; with less there is no privacy to account for"
            )
        self.accountant = gaussian.GaussianAccountant(self.noise_multiplier / 2, 1.0, self.delta)
        self.spent = torch.zeros(self.sampling[0], dtype=torch.int64)

    @classmethod
    def from_config(cls, config: Config, options: dict[str, object]) -> Self:
        """Return the mechanism with the settings of the privacy section."""
        given, federation = config.privacy, config.federation
        who = federation.num_clients, federation.fraction_train, federation.sampling
        sampling = (*who, federation.seed)
        noise, limit = given.noise_multiplier, given.max_epsilon
        return cls(given.clip_norm, noise, sampling, given.delta, limit, given.noise_source)

    def check(self, config: Config, chain: Sequence[Mechanism]) -> None:
        """Refuse settings under which the reported ε would not be true, or updates not arrive."""
        # imported late: most chains have no use for cryptography
        from strategies.secure_sum.mechanism import SecureSum

        model, noise = Model(config), self.noise_multiplier
        summed = chain[-1] is not self and type(chain[-1]) is SecureSum
        if chain[-2 if summed else -1] is not self:
            raise UserError(
                "mechanisms: 'local-dp' must be the last, or before 'secure-sum', so that what it "
                "makes is what is sent: others would clip its noise or state another ε"
            )
        if config.privacy.clip != "fixed":
            raise UserError(
                "clip = 'adaptive' is for 'central-dp': a client does not learn the server's norm, "
                "and its noisy answer whether it was clipped says nothing; use clip = 'fixed'"
            )
        if config.strategy.weighting != "uniform":
            raise UserError(
                f"weighting = {config.strategy.weighting!r}: local-dp does not protect how many "
                "samples a client has; set weighting = 'uniform'"
            )
        if config.results.resume and self.noise_source == gaussian.SYSTEM:
            raise UserError(
                "resume with 'local-dp': a round that was cut off may have been sent and would be "
                "sent again with other noise, which no ε counts; start a new run"
            )
        needed = gaussian.noisy_norm(self.clip_norm, noise, model.layout.size)
        if needed > model.max_update_norm and not summed:
            raise UserError(
                f"max-update-norm = {model.max_update_norm:g}: the noise of local-dp makes updates "
                f"as long as {needed:.4g}; set max-update-norm = {needed + 1:.0f}"
            )
        gaussian.check_first_round(self.accountant.epsilon, noise, self.max_epsilon)

    def on_client(
        self, updates: Tensor, clients: Sequence[int], server_round: int, seed: int
    ) -> Tensor:
        """Return the clipped updates, each with noise of its own."""
        size = updates.shape[1]
        if self.noise_source == gaussian.SEED:
            noise = gaussian.seeded_rows(seed, "local-dp", clients, size, server_round)
        else:
            noise = gaussian.system_noise(len(clients), size)
        clipped = gaussian.clip_rows(updates, self.clip_norm)
        return clipped + self.noise_multiplier * self.clip_norm * noise

    def before_round(self, server_round: int) -> None:
        """Spend the round of those who are sampled, or end the run if a budget forbids it."""
        limits = self.delta, self.max_epsilon
        budget = self.sampling, server_round, self.accountant.epsilon, *limits
        self.spent = gaussian.after_round(self.spent, *budget)

    def metrics(self) -> dict[str, float]:
        """Return the ε of one round, the most that a client has spent, and the clients' mean."""
        return gaussian.spent_metrics(self.spent, self.accountant.epsilon)

    def state_dict(self) -> Memory:
        """Return in how many rounds each client took part."""
        return {"spent": self.spent}

    def load_state_dict(self, state: Memory) -> None:
        """Go on from a saved state."""
        self.spent = torch.as_tensor(state["spent"]).clone()
