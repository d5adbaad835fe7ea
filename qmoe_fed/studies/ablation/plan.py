"""All that the ablation runs, as independent jobs, and what comes of them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from qmoe_fed.studies import trials
from qmoe_fed.studies.ablation import gradients, starts
from qmoe_fed.studies.ablation.efficiency import sweep
from qmoe_fed.studies.ablation.gradients import READOUTS, Variance
from qmoe_fed.studies.ablation.settings import EXPERTS, LEARNING_RATES, REPORTED, SIZES, Settings
from qmoe_fed.studies.ablation.starts import SMALL_ANGLE, STARTS, Start, Started
from qmoe_fed.studies.datasets import IMAGES, MOONS
from qmoe_fed.studies.models import LABELS, QUANTUM, StudyModel, ablation_model
from qmoe_fed.studies.parallel import run_jobs
from qmoe_fed.studies.trials import Outcome, Trial


@dataclass(frozen=True, eq=False)
class Results:
    """What was measured.

    Attributes:
        models: The ablation on Two Moons.
        sweeps: Accuracy against parameters, by dataset.
        gradients: Variances of gradients.
        starts: Ways to train.
    """

    models: list[Outcome]
    sweeps: dict[str, list[Outcome]]
    gradients: list[Variance]
    starts: list[Started]


def models() -> list[StudyModel]:
    """Return the models of the ablation; those of the notebooks with their 2 experts only."""
    only_two = {"classifier", "notebook", "mlp-16"}
    return [
        ablation_model(name, experts)
        for experts in EXPERTS
        for name in LABELS
        if experts == 2 or name not in only_two
    ]


def measure(settings: Settings, images: Sequence[str]) -> Results:
    """Run everything.

    Args:
        settings: Of the ablation.
        images: Image tasks whose files are there.
    """
    scope, protocol, sizes = settings.scope, settings.protocol, SIZES[settings.scope.quick]
    moons = settings.source(MOONS, scope.seeds)
    on_moons = replace(protocol, max_epochs=sizes.moons_epochs)
    jobs: dict[tuple[str, str], list[Callable[[], Any]]] = {}
    for dataset in reversed(images):  # the last has most classes and samples
        source = settings.source(dataset, min(scope.seeds, sizes.image_seeds))
        on_images = replace(
            protocol,
            max_epochs=min(sizes.image_epochs, IMAGES[dataset].epochs),
            patience=sizes.image_patience,
        )
        jobs["sweep", dataset] = [
            partial(trials.run, Trial(model, source, sizes.image_rates, (), on_images))
            for model in sweep(dataset, scope.quick)
        ]
    jobs["starts", ""] = [
        partial(starts.run, Start(name, *circuit), moons, REPORTED, protocol)
        for circuit in reversed(sizes.circuits)
        for name in STARTS
    ]
    jobs["models", ""] = [
        partial(trials.run, Trial(model, moons, LEARNING_RATES, REPORTED, protocol))
        for model in models()
    ]
    jobs["gradients", ""] = [
        partial(
            gradients.grid,
            sizes.qubits,
            sizes.layers,
            readout,
            angle,
            sizes.draws,
            protocol.seed,
        )
        for readout in READOUTS
        for angle in (QUANTUM.init_angle, SMALL_ANGLE)
    ]
    jobs["sweep", MOONS] = [
        partial(trials.run, Trial(model, moons, sizes.moons_rates, (), on_moons))
        for model in sweep(MOONS, scope.quick)
    ]
    done = iter(run_jobs([job for group in jobs.values() for job in group], scope.processes))
    results = {key: [next(done) for _ in group] for key, group in jobs.items()}
    return Results(
        models=results["models", ""],
        sweeps={name: results["sweep", name] for name in (MOONS, *images)},
        gradients=[variance for grid in results["gradients", ""] for variance in grid],
        starts=[started for group in results["starts", ""] for started in group],
    )
