"""The ablation of the paper on one client, with spreads, controls and the paper's numbers beside.

python simulations/centralized_ablation.py                 Two Moons and training dynamics
python simulations/centralized_ablation.py --data-dir DIR  images too
python simulations/centralized_ablation.py --quick         a first look in seconds
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import ablation_pictures as pictures
import ablation_tables as tables
from ablation_tables import Ablation

from qmoe_fed.config.settings import Tree, between, setting
from qmoe_fed.data.download import cache_dir
from qmoe_fed.errors import UserError
from qmoe_fed.experiments import command
from qmoe_fed.experiments.cells import Cell
from qmoe_fed.experiments.command import Report, Run, Study, main
from qmoe_fed.experiments.datasets import COMPONENTS, IMAGES, MOONS, Source, load
from qmoe_fed.experiments.measures.fits import fits
from qmoe_fed.experiments.measures.gradients import READOUTS, variances
from qmoe_fed.experiments.measures.stages import stages
from qmoe_fed.experiments.models import CLASSIFIER, QUANTUM, ROUTERS, Model, mlp, nearest_width
from qmoe_fed.experiments.protocol import Protocol

REPORTED = 0.01, 0.1  # of the paper (V-A) and of the notebook: tested whatever is chosen
SMALL_ANGLE = 0.1  # radians: half-width of small initial angles
PAPER_DEEP, PAPER_MLP = 240, 128  # parameters of the paper's MLPs (Table I, VI-B)


@dataclass(frozen=True)
class Sizes:
    """How large the parts are."""

    rates: tuple[float, ...] = (0.003, 0.01, 0.03, 0.1, 0.3)  # validation chooses among them
    sweep_rates: tuple[float, ...] = (0.01, 0.03, 0.1, 0.3)
    sweep_epochs: int = 30  # as in the notebooks' sweep
    image_rates: tuple[float, ...] = (0.01, 0.03)
    image_epochs: int = 60
    image_seeds: int = 5
    image_patience: int = 6
    draws: int = 500  # of inputs and parameters, for a variance of gradients
    qubits: tuple[int, ...] = (2, 4, 6, 8, 10, 12)
    layers: tuple[int, ...] = (1, 2, 4, 8, 16)
    circuits: tuple[tuple[int, int], ...] = ((4, 4), (2, 3))  # qubits and layers


QUICK = Sizes(
    sweep_rates=(0.03, 0.3),
    sweep_epochs=5,
    image_rates=(0.03,),
    image_epochs=3,
    image_seeds=2,
    draws=100,
    qubits=(2, 4, 6, 8),
    layers=(1, 4),
    circuits=((2, 3),),
)


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
    def sizes(self) -> Sizes:
        """Of the parts."""
        return QUICK if self.scope.quick else Sizes()

    def source(self, dataset: str) -> Source:
        """Return the data of all seeds; there are fewer for images."""
        scope = self.scope
        seeds = scope.seeds if dataset == MOONS else min(scope.seeds, self.sizes.image_seeds)
        data_dir = "" if dataset == MOONS else scope.data_dir
        return Source(dataset, seeds, scope.first_seed, self.protocol.seed, scope.noise, data_dir)


def models(experts: int) -> dict[str, Model]:
    """Return the models of the ablation by label; those of the notebooks have 2 experts only."""
    found = {
        "A: linear": ROUTERS["linear"],
        "B: quantum": QUANTUM,
        "C: deep": mlp(nearest_width(PAPER_DEEP, 2, experts)),
        "C, 16 wide": mlp(16),
        "B without CZ": ROUTERS["separable"],
        "trigonometric": ROUTERS["trig"],
        "B, re-uploading": ROUTERS["reuploading"],
        "B, notebooks": ROUTERS["notebook"],
    }
    if experts != 2:
        del found["C, 16 wide"], found["B, notebooks"]
    whole = {label: {**model, "num-experts": experts} for label, model in found.items()}
    return whole if experts != 2 else {**whole, "linear classifier": CLASSIFIER}


def rival_width(dataset: str) -> int:
    """Return the width of the MLP router that comes nearest to the paper's on a dataset."""
    if dataset == MOONS:
        return nearest_width(PAPER_DEEP, 2, 2)
    return nearest_width(PAPER_MLP, COMPONENTS, IMAGES[dataset].num_experts)


def sweep(dataset: str, quick: bool) -> Iterator[tuple[str, str, Model]]:
    """Yield family, name and settings of the routers compared on a dataset, the slowest first.

    All stand before the same number of linear experts. Quick: a few, with all the paper names.
    """
    moons = dataset == MOONS
    experts = 2 if moons else IMAGES[dataset].num_experts
    circuits = [(2, 1), (2, 2), (2, 3), (2, 6), (4, 3)]
    again, without = [(2, 2), (2, 3), (4, 3)], (2, 3)
    widths = {1, 2, 4, 8, 16, 32, 48, 64}
    if not moons:
        circuits = [(8, 4), (8, 1)] if experts == 2 else [(8, 4), (8, 2), (8, 1)]
        again, without = [(8, 2)], (8, 4)
        widths = {rival_width(dataset), *((1, 32) if experts == 2 else (16, 64))}
    found: list[tuple[str, str, Model]] = [("trigonometric", "trig", ROUTERS["trig"])]
    for family, router, shapes in [
        ("re-uploading", "reuploading", again),
        ("quantum", "quantum", circuits),
        ("without CZ", "separable", [without]),
    ]:
        for n, depth in shapes:
            model = {**ROUTERS[router], "qubits": n, "layers": depth}
            found.append((family, f"{family} n{n} L{depth}", model))
    if moons:
        found.append(("notebooks", "notebooks", ROUTERS["notebook"]))
    found += [("MLP", f"mlp-{width}", mlp(width)) for width in sorted(widths)]
    found.append(("linear", "linear", ROUTERS["linear"]))
    few = {"linear", f"mlp-{rival_width(dataset)}", "quantum n2 L3", "quantum n8 L4"}
    for family, name, model in found:
        if not quick or name in few:
            yield family, name, {**model, "num-experts": experts}
    yield "linear classifier", "classifier", CLASSIFIER


def ways(qubits: int, layers: int) -> dict[str, list[Model]]:
    """Return the models trained one after another: the usual way, two remedies (VI-D), a control.

    Every stage restarts Adam; the control does so too, with all layers from the start.
    """
    whole = {**QUANTUM, "num-experts": 2, "qubits": qubits, "layers": layers}
    return {
        "angles in [-π, π]": [whole],
        f"angles in [-{SMALL_ANGLE}, {SMALL_ANGLE}]": [{**whole, "init-angle": SMALL_ANGLE}],
        "layer by layer": [{**whole, "layers": depth + 1} for depth in range(layers)],
        "Adam restarted as often": [whole] * layers,
    }


def cells(settings: Settings, images: list[str]) -> Iterator[Cell]:
    """Yield all jobs, the longest first."""
    sizes, protocol, moons = settings.sizes, settings.protocol, settings.source(MOONS)
    for dataset in [*reversed(images), MOONS]:
        own, rates = replace(protocol, max_epochs=sizes.sweep_epochs), sizes.sweep_rates
        if dataset != MOONS:
            most = min(sizes.image_epochs, IMAGES[dataset].epochs)
            own = replace(protocol, max_epochs=most, patience=sizes.image_patience)
            rates = sizes.image_rates
        for family, name, model in sweep(dataset, settings.scope.quick):
            about = {"part": "sweep", "dataset": dataset, "family": family, "model": name}
            arguments = {"rates": rates, "reported": (), "protocol": own}
            source = settings.source(dataset)
            yield Cell(fits, about, {"model": model, "source": source, **arguments})
    for qubits, layers in sizes.circuits:
        for way, trained in ways(qubits, layers).items():
            about = {"part": "ways", "model": way, "qubits": qubits, "layers": layers}
            given = {"source": moons, "rates": REPORTED, "protocol": protocol}
            yield Cell(stages, about, {"models": trained, **given})
    for experts in (2, 4):
        for label, model in models(experts).items():
            about = {"part": "models", "model": label, "experts": experts}
            given = {"rates": sizes.rates, "reported": REPORTED, "protocol": protocol}
            yield Cell(fits, about, {"model": model, "source": moons, **given})
    for readout in READOUTS:
        for angle in (3.141592653589793, SMALL_ANGLE):
            for layers in sizes.layers:
                about = {"part": "gradients", "readout": readout, "angle": angle, "layers": layers}
                draws = {"draws": sizes.draws, "seed": protocol.seed}
                given = {"layers": layers, "readout": readout, "init_angle": angle}
                yield Cell(variances, about, {"qubits": sizes.qubits, **given, **draws})


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
    for name in IMAGES:
        try:
            load(settings.source(name))
        except UserError as error:
            left_out.append(f"left out: {error}. {hint}")
        else:
            there.append(name)
    return there, left_out


def report(settings: Settings, run: Run) -> Report:
    """Run all cells and show them."""
    images, left_out = available(settings)
    rows = run(list(cells(settings, images)))
    study = Ablation(
        rows,
        {experts: models(experts) for experts in (2, 4)},
        {dataset: f"mlp-{rival_width(dataset)}" for dataset in (MOONS, *images)},
        settings.protocol.max_epochs,
        load(settings.source(MOONS)),
        run.arrays,
    )
    first = [
        show(study, experts)
        for experts in study.models
        for show in (tables.overview, partial(tables.details, rate="rate chosen"))
    ]
    second = [tables.sweeps(study, dataset) for dataset in study.rivals]
    last = [show(study) for show in (tables.gradients, tables.training, tables.controls)]
    further = [
        tables.details(study, experts, rate)
        for rate in ("rate 0.01", "rate 0.1")
        for experts in study.models
    ]
    shown = [*first, tables.beside(study), *second, *last]
    return Report(shown, pictures.draw(study), left_out, further)


STUDY = Study(
    name="centralized-ablation",
    description=__doc__ or "",
    settings=Settings,
    report=report,
    sizes={"quick": {"quick": True, "seeds": 3, "max-epochs": 12}},
    check=available,
)

if __name__ == "__main__":
    sys.exit(main(STUDY))
