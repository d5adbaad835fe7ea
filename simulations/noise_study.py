"""How much noise does a quantum router bear? Accuracy on Two Moons by channel, place and strength.

python simulations/noise_study.py           a minute and a half on 2 free cores
python simulations/noise_study.py --quick   a first look, in seconds
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from noise_views import GRID, MAIN, TABLE_II, described, draw, tables

from qmoe_fed.circuits.noise.placement import depolarizing_from_qiskit
from qmoe_fed.config.settings import Tree, between, setting
from qmoe_fed.errors import UserError
from qmoe_fed.experiments import command
from qmoe_fed.experiments.cells import Cell
from qmoe_fed.experiments.command import Report, Study, main
from qmoe_fed.experiments.datasets import MOONS, Source
from qmoe_fed.experiments.engine import Runner
from qmoe_fed.experiments.measures.noise import (
    MEASUREMENT,
    READOUT_ERROR,
    TRAINING,
    Noisy,
    noisy_fits,
)
from qmoe_fed.experiments.protocol import Protocol

OTHERS = "amplitude-damping", "bit-flip", "phase-damping"
PLACES = "gate", "notebook"
MODELS = GRID["models"]
NOTEBOOK_RATE, NOTEBOOK_EPOCHS = 0.05, 20
NOTEBOOK_STRENGTHS = 0.0, 0.02, 0.05, 0.1, 0.15, 0.2
QUICK = {"quick": True, "seeds": 3, "learning-rates": "0.1", "max-epochs": 15}


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

    def strengths(self, channel: str) -> tuple[float, ...]:
        """Return the strengths of a channel, ascending.

        For depolarizing noise, whose strength is PennyLane's p throughout, these include the error
        rates of the paper's Table II, read as p and read as Qiskit's λ.
        """
        asked = {*numbers("strengths", self.scope.strengths, 0, 0.75)}
        if channel == MAIN:
            asked |= {*TABLE_II, *map(depolarizing_from_qiskit, TABLE_II)}
        return tuple(sorted(asked))


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
    scope, protocol = settings.scope, settings.protocol
    rates = numbers("learning-rates", scope.learning_rates, 0, float("inf"))
    shots = tuple(int(count) for count in numbers("shots", scope.shots, 1, 1e9))
    source = Source(MOONS, scope.seeds, scope.first_seed, protocol.seed, scope.data_noise)

    def cell(model: str, rate: float, trained: Noisy | None, *tests: Noisy) -> Cell:
        epochs = NOTEBOOK_EPOCHS if model == "notebook" else protocol.max_epochs
        fit = {"rate": rate, "source": source, "trained": trained, "tests": tests}
        fit["protocol"] = replace(protocol, max_epochs=min(epochs, protocol.max_epochs))
        about = {"protocol": "trained-noisy" if trained else "trained-clean"}
        if trained:
            about["trained"] = trained.placement
        return Cell(
            noisy_fits,
            {"model": model, "rate": rate, **about},
            {"model": MODELS[model], **fit},
        )

    every = [Noisy(MAIN, place, settings.strengths(MAIN), shots) for place in PLACES]
    for model in ("reuploading", "quantum"):
        for rate in rates:
            for noise in every:
                yield cell(model, rate, noise, noise)
    books = Noisy(MAIN, "notebook", NOTEBOOK_STRENGTHS)
    yield cell("notebook", NOTEBOOK_RATE, books, books, replace(books, samples=TRAINING))
    others = [Noisy(c, place, settings.strengths(c)) for c in OTHERS for place in PLACES]
    others.append(Noisy(READOUT_ERROR, MEASUREMENT, settings.strengths(READOUT_ERROR)))
    for rate in rates:
        yield cell("reuploading", rate, None, *every)
        yield cell("quantum", rate, None, *every, *others)
        yield cell("linear", rate, None)


def report(settings: Settings, run: Runner) -> Report:
    """Run all cells and show them."""
    rows, seed = described(run(list(cells(settings)))), settings.protocol.seed
    return Report(tables(rows, seed), draw(rows, seed))


STUDY = Study("noise-study", __doc__ or "", Settings, report, {"quick": QUICK})

if __name__ == "__main__":
    sys.exit(main(STUDY))
