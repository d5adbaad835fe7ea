"""How much privacy the rounds of a run spend."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

from qmoe_fed.errors import UserError

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
        noise_multiplier: σ, standard deviation of the noise over the sensitivity, at least 0.01.
        sampling_rate: Probability with which each client takes part in a round; 1 for all.
        delta: δ at which ε is reported.

    Raises:
        UserError: There is next to no noise.
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

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self  # nothing in it ever changes

    def epsilon(self, rounds: int) -> float:
        """Return the ε that so many rounds spend."""
        if rounds == 0:
            return 0.0
        return float(self._round.self_compose(rounds).get_epsilon_for_delta(self.delta))

    @cached_property
    def _round(self) -> Any:
        # Imported late: it takes a second that runs without an accountant need not spend.
        from dp_accounting.pld import privacy_loss_distribution

        sigma = self.noise_multiplier
        return privacy_loss_distribution.from_gaussian_mechanism(
            sigma,
            sampling_prob=self.sampling_rate,
            # A grid as coarse as this overstates ε by less than 0.2%, and never understates it.
            value_discretization_interval=3e-3 / min(sigma, sigma**2),
        )
