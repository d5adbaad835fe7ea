"""What the noise study is asked to do."""

from dataclasses import dataclass, field

from qmoe_fed.circuits.channels import depolarizing_from_qiskit
from qmoe_fed.config.settings import Section, Tree, between, setting
from qmoe_fed.errors import UserError
from qmoe_fed.studies.datasets import MOONS, Source
from qmoe_fed.studies.noise.published import TABLE_II
from qmoe_fed.studies.protocol import Protocol


@dataclass(frozen=True)
class Scope(Section):
    """What is measured, and with what."""

    seeds: int = setting(10, between(2))
    learning_rates: str = setting("0.01,0.1")  # the paper's and the notebooks'
    strengths: str = setting("0,0.005,0.01,0.02,0.03,0.05,0.075,0.1,0.15,0.2")
    shots: str = setting("100,1000,10000")
    data_noise: float = setting(0.1, between(0))  # standard deviation of Two Moons
    processes: int = setting(2, between(1))
    output_dir: str = setting("")  # empty: a new one in runs/

    def __post_init__(self) -> None:
        super().__post_init__()
        numbers("learning-rates", self.learning_rates, 1e-9, float("inf"))
        if any(shots % 1 for shots in numbers("shots", self.shots, 1, 1e9)):
            raise UserError(f"shots = {self.shots!r}: expected whole numbers")
        if numbers("strengths", self.strengths, 0, 0.75)[0] != 0:
            raise UserError(f"strengths = {self.strengths!r}: must begin with 0, the noiseless end")


@dataclass(frozen=True)
class Settings(Tree):
    """All settings of the noise study."""

    scope: Scope = field(default_factory=Scope)
    protocol: Protocol = field(default_factory=Protocol)

    @property
    def learning_rates(self) -> list[float]:
        """The learning rates, ascending."""
        return numbers("learning-rates", self.scope.learning_rates, 0, float("inf"))

    @property
    def shots(self) -> list[int]:
        """The numbers of shots, ascending."""
        return [int(shots) for shots in numbers("shots", self.scope.shots, 1, 1e9)]

    @property
    def source(self) -> Source:
        """The data of the study."""
        scope = self.scope
        return Source(MOONS, scope.seeds, self.protocol.seed, scope.data_noise, "")

    def strengths(self, channel: str) -> list[float]:
        """Return the strengths of a channel, ascending.

        For depolarizing noise, whose strength is PennyLane's p throughout, these include the error
        rates of the paper's Table II, read as p and read as Qiskit's λ.
        """
        asked = numbers("strengths", self.scope.strengths, 0, 0.75)
        if channel != "depolarizing":
            return asked
        return sorted({*asked, *TABLE_II, *map(depolarizing_from_qiskit, TABLE_II)})


def numbers(key: str, text: str, low: float, high: float) -> list[float]:
    """Return the numbers in a setting, ascending, e.g. those in ``"100,1000"``.

    Raises:
        UserError: It holds something else, or numbers out of range.
    """
    try:
        values = sorted({float(part) for part in text.split(",")})
    except ValueError:
        values = []
    if not values or not all(low <= value <= high for value in values):
        limit = f"of at least {low:g}" if high == float("inf") else f"in [{low:g}, {high:g}]"
        raise UserError(f"{key} = {text!r}: expected numbers {limit} separated by commas")
    return values
