"""How much noise does a quantum router bear? Accuracy on Two Moons by channel, place and strength.

python simulations/noise_study.py           a minute and a half on 2 free cores
python simulations/noise_study.py --quick   a first look, in seconds
"""

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from math import inf

from noise_views import CLEAN, GRID, MAIN, NOISY, PLACES, TABLE_II, described, draw, tables

from qmoe_fed.circuits.noise.placement import depolarizing_from_qiskit
from qmoe_fed.config.settings import Check, Tree, between, readable, setting
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
MODELS = GRID["models"]
NOTEBOOK_RATE, NOTEBOOK_EPOCHS = 0.05, 20
NOTEBOOK_STRENGTHS = 0.0, 0.02, 0.05, 0.1, 0.15, 0.2
QUICK = {"quick": True, "seeds": 3, "learning-rates": "0.1", "max-epochs": 15}


def numbers(text: str) -> tuple[float, ...]:
    """Return the numbers in a setting, ascending, e.g. those in ``"100,1000"``.

    Raises:
        ValueError: It holds something else.
    """
    return tuple(sorted({float(part) for part in text.split(",")}))


def _listed(condition: Callable[[tuple[float, ...]], bool], expected: str) -> Check:
    """Return the check of a setting that it holds numbers, ascending, for which something holds."""

    def read(text: str) -> None:
        if not condition(numbers(text)):
            raise ValueError

    return readable(read, f"{expected} separated by commas")


@dataclass(frozen=True)
class Scope(command.Scope):
    """What is asked of the noise study."""

    learning_rates: str = setting(  # the paper's and the notebooks'
        "0.01,0.1", _listed(lambda x: x[0] >= 1e-9 and x[-1] < inf, "positive numbers")
    )
    strengths: str = setting(
        "0,0.005,0.01,0.02,0.03,0.05,0.075,0.1,0.15,0.2",
        _listed(lambda x: x[0] == 0 and x[-1] <= 0.75, "numbers in [0, 0.75], 0 among them,"),
    )
    shots: str = setting(
        "100,1000,10000",
        _listed(lambda x: all(1 <= n <= 1e9 and n % 1 == 0 for n in x), "whole numbers above 0"),
    )
    data_noise: float = setting(0.1, between(0))  # standard deviation of Two Moons


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
        asked = {*numbers(self.scope.strengths)}
        if channel == MAIN:
            asked |= {*TABLE_II, *map(depolarizing_from_qiskit, TABLE_II)}
        return tuple(sorted(asked))


def cells(settings: Settings) -> Iterator[Cell]:
    """Yield all fits with their tests, the longest first."""
    scope, protocol = settings.scope, settings.protocol
    rates, shots = numbers(scope.learning_rates), tuple(map(int, numbers(scope.shots)))
    source = Source(MOONS, scope.seeds, scope.first_seed, protocol.seed, scope.data_noise)

    def cell(model: str, rate: float, trained: Noisy | None, *tests: Noisy) -> Cell:
        epochs = NOTEBOOK_EPOCHS if model == "notebook" else protocol.max_epochs
        given = {"model": MODELS[model], "rate": rate, "source": source}
        given["protocol"] = replace(protocol, max_epochs=min(epochs, protocol.max_epochs))
        about = {"model": model, "rate": rate, "protocol": NOISY if trained else CLEAN}
        if trained:
            about["trained"] = trained.placement
        return Cell(noisy_fits, about, {**given, "trained": trained, "tests": tests})

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
