"""How much privacy the rounds of a run have spent."""

from functools import cached_property
from typing import Any

from qmoe_fed.errors import UserError

SMALLEST_NOISE = 0.01  # One round spends an ε of some 5000.


class GaussianAccountant:
    """Composes rounds of the Gaussian mechanism on a Poisson sample of the clients.

    Neighbouring federations differ by one client, added or removed. Each round is one release of
    a sum of sensitivity 1 with noise of standard deviation ``noise_multiplier``; the privacy loss
    distribution of a round is composed with itself numerically (Doroshenko et al., "Connect the
    dots", 2022; Google's ``dp_accounting``), which upper-bounds ε(δ) closely.

    Args:
        noise_multiplier: σ, standard deviation of the noise over the sensitivity.
        sampling_rate: Probability with which each client takes part in a round; 1 for all.
        delta: δ at which ε is reported.
        rounds: Rounds already spent.

    Raises:
        UserError: There is next to no noise.
    """

    def __init__(
        self, noise_multiplier: float, sampling_rate: float, delta: float, rounds: int = 0
    ) -> None:
        if noise_multiplier < SMALLEST_NOISE:
            raise UserError(
                f"noise-multiplier = {noise_multiplier:g}: must be at least {SMALLEST_NOISE:g}; "
                "with less there is no privacy to account for"
            )
        self.noise_multiplier = noise_multiplier
        self.sampling_rate = sampling_rate
        self.delta = delta
        self.rounds = rounds

    @cached_property
    def _round(self) -> Any:
        # Imported late: it takes a second that runs without an accountant need not spend.
        from dp_accounting.pld import privacy_loss_distribution

        # A grid as coarse as this overstates ε by less than 0.2%, and never understates it.
        sigma = self.noise_multiplier
        return privacy_loss_distribution.from_gaussian_mechanism(
            sigma,
            sampling_prob=self.sampling_rate,
            value_discretization_interval=3e-3 / min(sigma, sigma**2),
        )

    @cached_property
    def _next(self) -> Any:
        return self._round.self_compose(self.rounds + 1)

    def next_epsilon(self) -> float:
        """Return ε after one more round."""
        return float(self._next.get_epsilon_for_delta(self.delta))

    def spend(self) -> None:
        """Count one more round as spent."""
        after = self._next.compose(self._round)
        self.rounds += 1
        self._next = after
