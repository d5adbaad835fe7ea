"""A circuit trained in stages: layer by layer, or with its optimiser restarted as often.

Layer by layer (Skolik et al., Quantum Machine Intelligence 3, 5, 2021): one layer is trained, then
a layer with zero angles is added and all are trained, and so on; the epochs are shared out equally.
"""

from collections.abc import Sequence
from dataclasses import replace

import torch

from qmoe_fed.experiments.cells import Measured
from qmoe_fed.experiments.datasets import Source, load
from qmoe_fed.experiments.measures.fits import TARGET, replicas
from qmoe_fed.experiments.models import Model, build
from qmoe_fed.experiments.protocol import Protocol, fit
from qmoe_fed.experiments.statistics import first_epoch
from qmoe_fed.learning import evaluate
from qmoe_fed.models import Mixture, Parameters, initial_parameters


def stages(
    models: Sequence[Model], source: Source, rates: Sequence[float], protocol: Protocol
) -> Measured:
    """Train models one after another, each from where the last one ended, and test the last.

    Args:
        models: Settings of what is trained in each stage; each adds layers or is as the last one.
        source: The data.
        rates: Learning rates, all of which are tested.
        protocol: How each stage is fitted; its epochs are shared out equally.

    Returns:
        A row per learning rate and seed, with ``epochs_to_90`` counted over all stages.
    """
    data = load(source)
    rows, streams, by_rate = replicas(source, rates)
    train, validation = data.split.train.select(rows), data.split.validation.select(rows)
    own = replace(protocol, max_epochs=max(1, protocol.max_epochs // len(models)))
    parameters: Parameters = {}
    curves = []
    for settings in models:

        def make(settings: Model = settings) -> Mixture:
            return build(settings, data.features, data.classes)

        parameters = grown(parameters, initial_parameters(make, protocol.seed, streams))
        fitted = fit(make(), parameters, train, validation, streams, by_rate, own)
        parameters = fitted.parameters
        curves.append(fitted.validation_accuracy)
    scores = evaluate(make(), parameters, data.split.test.select(rows)).accuracy.double().tolist()
    targets = first_epoch(torch.cat(curves, 1).double().numpy(), TARGET).tolist()
    about = ((rate, seed) for rate in rates for seed in source.streams)
    return Measured(
        [
            {"rate": rate, "seed": seed, "accuracy": score, "epochs_to_90": target}
            for (rate, seed), score, target in zip(about, scores, targets, strict=True)
        ]
    )


def grown(parameters: Parameters, fresh: Parameters) -> Parameters:
    """Return trained parameters in the shapes of fresh ones; angles of new layers are zero.

    Without trained parameters these are the fresh ones.
    """
    whole = {**fresh, **parameters}
    if "router.theta" in parameters:
        whole["router.theta"] = torch.zeros_like(fresh["router.theta"])
        old = parameters["router.theta"]  # (P, angles), layer by layer
        whole["router.theta"][:, : old.shape[1]] = old
    return whole
