"""How much noise does a quantum router bear? Accuracy on Two Moons by channel, place and strength.

python simulations/noise_study.py           a minute and a half on 2 free cores
python simulations/noise_study.py --quick   a first look, in seconds
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from noise_pictures import draw
from noise_tables import NOTEBOOK_STRENGTHS, TABLE_II, Noise, tables
from qmoe_fed.circuits.channels import CHANNELS, PLACEMENTS, depolarizing_from_qiskit

from qmoe_fed.config.settings import Tree, between, setting
from qmoe_fed.errors import UserError
from qmoe_fed.experiments import command
from qmoe_fed.experiments.cells import Cell
from qmoe_fed.experiments.command import Report, Run, Study, main
from qmoe_fed.experiments.datasets import MOONS, Source
from qmoe_fed.experiments.measures.noise import (
    MEASUREMENT,
    READOUT_ERROR,
    TRAINING,
    Noisy,
    noisy_fits,
)
from qmoe_fed.experiments.models import ROUTERS
from qmoe_fed.experiments.protocol import Protocol

MAIN = "depolarizing"  # the channel under which models are trained
CIRCUITS = "reuploading", "quantum"
NOTEBOOK_RATE, NOTEBOOK_EPOCHS = 0.05, 20


@dataclass(frozen=True)
class Scope(command.Scope):
    """What is asked of the noise study."""

    learning_rates: str = setting("0.01,0.1")  # the paper's and the notebooks'
    strengths: str = setting("0,0.005,0.01,0.02,0.03,0.05,0.075,0.1,0.15,0.2")
    shots: str = setting("100,1000,10000")
    data_noise: float = setting(0.1, between(0))  # standard deviation of Two Moons

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
    def rates(self) -> list[float]:
        """The learning rates, ascending."""
        return numbers("learning-rates", self.scope.learning_rates, 0, float("inf"))

    @property
    def shots(self) -> tuple[int, ...]:
        """The numbers of shots, ascending."""
        return tuple(int(shots) for shots in numbers("shots", self.scope.shots, 1, 1e9))

    @property
    def source(self) -> Source:
        """The data of the study."""
        scope = self.scope
        return Source(MOONS, scope.seeds, scope.first_seed, self.protocol.seed, scope.data_noise)

    def strengths(self, channel: str) -> tuple[float, ...]:
        """Return the strengths of a channel, ascending.

        For depolarizing noise, whose strength is PennyLane's p throughout, these include the error
        rates of the paper's Table II, read as p and read as Qiskit's λ.
        """
        asked = numbers("strengths", self.scope.strengths, 0, 0.75)
        if channel == MAIN:
            asked = sorted({*asked, *TABLE_II, *map(depolarizing_from_qiskit, TABLE_II)})
        return tuple(asked)


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


def cells(settings: Settings) -> Iterator[Cell]:
    """Yield all fits with their tests, the longest first."""
    strengths, shots = settings.strengths(MAIN), settings.shots
    every = [Noisy(MAIN, place, strengths, shots) for place in PLACEMENTS]
    for model in CIRCUITS:
        for rate in settings.rates:
            for noise in every:
                yield cell(settings, model, rate, noise, [noise])
    books = Noisy(MAIN, "notebook", NOTEBOOK_STRENGTHS)
    epochs = min(NOTEBOOK_EPOCHS, settings.protocol.max_epochs)
    short = replace(settings, protocol=replace(settings.protocol, max_epochs=epochs))
    tests = [books, replace(books, samples=TRAINING)]
    yield cell(short, "notebook", NOTEBOOK_RATE, books, tests)
    others = [
        Noisy(channel, place, settings.strengths(channel))
        for channel in sorted(CHANNELS.keys() - {MAIN})
        for place in PLACEMENTS
    ]
    others.append(Noisy(READOUT_ERROR, MEASUREMENT, settings.strengths(READOUT_ERROR)))
    for rate in settings.rates:
        yield cell(settings, "reuploading", rate, None, every)
        yield cell(settings, "quantum", rate, None, [*every, *others])
        yield cell(settings, "linear", rate, None, [])


def cell(
    settings: Settings, model: str, rate: float, trained: Noisy | None, tests: list[Noisy]
) -> Cell:
    """Return a fit with its tests."""
    protocol = "trained-noisy" if trained else "trained-clean"
    return Cell(
        noisy_fits,
        {"model": model, "rate": rate, "protocol": protocol},
        {
            "model": {**ROUTERS[model], "num-experts": 2},
            "rate": rate,
            "source": settings.source,
            "protocol": settings.protocol,
            "trained": trained,
            "tests": tests,
        },
    )


def report(settings: Settings, run: Run) -> Report:
    """Run all cells and show them."""
    study = Noise(run(list(cells(settings))), settings.protocol.seed)
    return Report(tables(study), draw(study))


STUDY = Study(
    name="noise-study",
    description=__doc__ or "",
    settings=Settings,
    report=report,
    sizes={"quick": {"quick": True, "seeds": 3, "learning-rates": "0.1", "max-epochs": 15}},
)

if __name__ == "__main__":
    sys.exit(main(STUDY))
