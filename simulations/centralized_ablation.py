"""The ablation of the paper on one client, with spreads, controls and the paper's numbers beside.

python simulations/centralized_ablation.py                 Two Moons and training dynamics
python simulations/centralized_ablation.py --data-dir DIR  images too
python simulations/centralized_ablation.py --quick         a first look in seconds
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import product
from math import pi
from pathlib import Path
from typing import Any

from ablation_views import MODELS, SIZES, SOLVED, SWEEPS, described, draw, tables

from qmoe_fed.config.settings import Tree, between, setting
from qmoe_fed.data.pools import cache_dir
from qmoe_fed.errors import UserError
from qmoe_fed.experiments import command
from qmoe_fed.experiments.cells import Cell
from qmoe_fed.experiments.command import Report, Study, main
from qmoe_fed.experiments.datasets import MOONS, Source, load
from qmoe_fed.experiments.engine import Runner
from qmoe_fed.experiments.measures.fits import fits
from qmoe_fed.experiments.measures.gradients import READOUTS, variances
from qmoe_fed.experiments.measures.stages import stages
from qmoe_fed.experiments.models import Model
from qmoe_fed.experiments.protocol import Protocol

REPORTED = 0.01, 0.1  # of the paper (V-A) and of the notebook: tested whatever is chosen
SMALL_ANGLE = 0.1  # radians: half-width of small initial angles
QUICK = {"quick": True, "seeds": 3, "max-epochs": 10}


@dataclass(frozen=True)
class Scope(command.Scope):
    """What is asked of the ablation."""

    seeds: int = setting(30, between(2))  # of Two Moons; of images at most 5
    noise: float = setting(0.1, between(0))  # standard deviation of Two Moons


@dataclass(frozen=True)
class Settings(Tree):
    """All settings of the ablation."""

    scope: Scope = field(default_factory=Scope)
    protocol: Protocol = field(default_factory=Protocol)

    @property
    def sizes(self) -> dict[str, Any]:
        """How large the parts are, as ablation.toml says."""
        return SIZES["quick" if self.scope.quick else "full"]

    def source(self, dataset: str) -> Source:
        """Return the data of all seeds; there are fewer for images."""
        scope, seed = self.scope, self.protocol.seed
        if dataset == MOONS:
            return Source(dataset, scope.seeds, scope.first_seed, seed, scope.noise)
        seeds = min(scope.seeds, self.sizes["image-seeds"])
        return Source(dataset, seeds, scope.first_seed, seed, data_dir=scope.data_dir)


def cells(settings: Settings, images: list[str]) -> Iterator[Cell]:
    """Yield all jobs, the longest first."""
    sizes, protocol, moons = settings.sizes, settings.protocol, settings.source(MOONS)
    for dataset in [*reversed(images), MOONS]:
        on_images = dataset != MOONS
        epochs = min(sizes["sweep-epochs"], SWEEPS[dataset]["epochs"])
        patience = sizes["image-patience"] if on_images else protocol.patience
        given = {
            "source": settings.source(dataset),
            "rates": sizes["image-rates"] if on_images else sizes["sweep-rates"],
            "reported": (),
            "protocol": replace(protocol, max_epochs=epochs, patience=patience),
        }
        for entry in SWEEPS[dataset]["models"]:
            if entry.get("quick") or not settings.scope.quick:
                names = {key: entry[key] for key in ("family", "model")}
                about = {"part": "sweep", "dataset": dataset, **names}
                yield Cell(fits, about, {"model": entry["settings"], **given})
    for qubits, layers in sizes["circuits"]:
        for way, models in ways(qubits, layers).items():
            about = {"part": "ways", "model": way, "qubits": qubits, "layers": layers}
            given = {"source": moons, "rates": REPORTED, "protocol": protocol}
            yield Cell(stages, about, {"models": models, **given})
    for entry in MODELS:
        about = {"part": "models", "model": entry["model"], "experts": entry["experts"]}
        given = {"source": moons, "rates": sizes["rates"], "reported": REPORTED}
        yield Cell(fits, about, {"model": entry["settings"], "protocol": protocol, **given})
    for dataset in ("mnist-10", MOONS):
        for model in SOLVED if dataset in (*images, MOONS) else ():
            given = {
                "source": settings.source(dataset),
                "rates": sizes["rates"] if dataset == MOONS else sizes["image-rates"],
                "reported": (),
                "protocol": replace(protocol, batch_size=256),
            }
            experts = {"num-experts": 4, "expert-fit": "solve"}
            if dataset != MOONS:
                experts |= {"num-experts": 16, "qubits": 8, "layers": 4}
            about = {"part": "solved", "dataset": dataset, "model": model}
            yield Cell(fits, about, {"model": {**SOLVED[model], **experts}, **given})
    draws = {"draws": sizes["draws"], "seed": protocol.seed, "qubits": sizes["qubits"]}
    for readout, angle, layers in product(READOUTS, (pi, SMALL_ANGLE), sizes["layers"]):
        factors = {"readout": readout, "init_angle": angle, "layers": layers}
        yield Cell(variances, {"part": "gradients", **factors}, {**factors, **draws})


def ways(qubits: int, layers: int) -> dict[str, list[Model]]:
    """Return the models trained one after another: the usual way, two remedies (VI-D), a control.

    Every stage restarts Adam; the control does so too, with all layers from the start.
    """
    (usual,) = (m["settings"] for m in MODELS if (m["experts"], m["model"]) == (2, "B: quantum"))
    whole = {**usual, "qubits": qubits, "layers": layers}
    return {
        "angles in [-π, π]": [whole],
        f"angles in [-{SMALL_ANGLE}, {SMALL_ANGLE}]": [{**whole, "init-angle": SMALL_ANGLE}],
        "layer by layer": [{**whole, "layers": depth + 1} for depth in range(layers)],
        "Adam restarted as often": [whole] * layers,
    }


def available(settings: Settings) -> tuple[list[str], list[str]]:
    """Return the image tasks that can be run, and why the others cannot."""
    data_dir = settings.scope.data_dir
    hint = (
        "To get them, run `qmoe-fed run simulations/mnist_fed` and `qmoe-fed run "
        f"simulations/fashion_fed`, which download them, and add --data-dir {cache_dir()}; or add "
        "--data-dir DIR for a DIR with the IDX files in DIR/mnist and DIR/fashion-mnist"
    )
    if not data_dir:
        return [], [f"left out: MNIST and Fashion-MNIST, for there is no --data-dir. {hint}"]
    if not Path(data_dir).expanduser().is_dir():
        raise UserError(f"data-dir = {data_dir!r}: there is no such directory")
    there, left_out = [], []
    for name in (name for name in SWEEPS if name != MOONS):
        try:
            load(settings.source(name))
        except UserError as error:
            left_out.append(f"left out: {error}. {hint}")
        else:
            there.append(name)
    return there, left_out


def report(settings: Settings, run: Runner) -> Report:
    """Run all cells and show them."""
    images, left_out = available(settings)
    rows = described(run(list(cells(settings, images))), settings.protocol.max_epochs)
    pictures = draw(rows, load(settings.source(MOONS)), run.store.arrays)
    return Report(tables(rows), pictures, left_out)


STUDY = Study(
    "centralized-ablation", __doc__ or "", Settings, report, {"quick": QUICK}, check=available
)

if __name__ == "__main__":
    sys.exit(main(STUDY))
