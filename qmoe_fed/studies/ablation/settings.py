"""What the ablation is asked to do, and how large its parts are."""

import time
from dataclasses import dataclass, field
from pathlib import Path

from qmoe_fed.config.settings import Section, Tree, between, setting
from qmoe_fed.studies.datasets import Source
from qmoe_fed.studies.protocol import Protocol

LEARNING_RATES = 0.003, 0.01, 0.03, 0.1, 0.3
"""Among which validation chooses in the ablation."""

REPORTED = 0.01, 0.1
"""Of the paper (section V-A) and of the notebook on Two Moons: tested whatever is chosen."""

EXPERTS = 2, 4
"""Of the notebooks; and one per basis state of two qubits, as the paper's equation reads."""


@dataclass(frozen=True)
class Scope(Section):
    """What is measured, and with what."""

    seeds: int = setting(10, between(2))
    noise: float = setting(0.1, between(0))  # standard deviation of Two Moons
    quick: bool = setting(False)  # small parts for a first look
    processes: int = setting(2, between(1))
    output_dir: str = setting("")
    data_dir: str = setting("")


@dataclass(frozen=True)
class Settings(Tree):
    """All settings of the ablation."""

    scope: Scope = field(default_factory=Scope)
    protocol: Protocol = field(default_factory=Protocol)

    def source(self, dataset: str, seeds: int) -> Source:
        """Return the data of the first seeds."""
        scope = self.scope
        return Source(dataset, seeds, self.protocol.seed, scope.noise, scope.data_dir)

    @property
    def folder(self) -> Path:
        """Directory of the results."""
        new = f"runs/centralized-ablation-{time.strftime('%Y%m%d-%H%M%S')}"
        return Path(self.scope.output_dir or new).expanduser()


QUICK = {"quick": True, "seeds": 3, "max-epochs": 12}
"""Settings of a run that takes seconds."""


@dataclass(frozen=True)
class Sizes:
    """How large the parts are beside the ablation itself, which the settings size.

    Attributes:
        moons_epochs: Most epochs of a fit in the sweep on Two Moons; as in the notebooks' sweep.
        image_epochs: The same for images, if their task does not say fewer.
        image_patience: Epochs without a lower validation loss there.
        moons_rates: Learning rates among which validation chooses on Two Moons.
        image_rates: The same for images.
        image_seeds: Most seeds for images.
        draws: Random inputs and parameters for a variance of gradients.
        qubits: For which it is measured.
        layers: For which it is measured.
        circuits: Qubits and layers on which ways to train are compared.
    """

    moons_epochs: int = 30
    image_epochs: int = 60
    image_patience: int = 6
    moons_rates: tuple[float, ...] = (0.01, 0.03, 0.1, 0.3)
    image_rates: tuple[float, ...] = (0.01, 0.03)
    image_seeds: int = 5
    draws: int = 500
    qubits: tuple[int, ...] = (2, 4, 6, 8, 10, 12)
    layers: tuple[int, ...] = (1, 2, 4, 8, 16)
    circuits: tuple[tuple[int, int], ...] = ((2, 3), (4, 4))


SIZES = {
    False: Sizes(),
    True: Sizes(
        moons_epochs=5,
        image_epochs=3,
        moons_rates=(0.03, 0.3),
        image_rates=(0.03,),
        image_seeds=2,
        draws=100,
        qubits=(2, 4, 6, 8),
        layers=(1, 4),
        circuits=((2, 3),),
    ),
}
"""By the setting ``quick``."""
