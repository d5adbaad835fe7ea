"""A circuit trained in stages: layer by layer, or with its optimiser restarted as often.

Layer by layer (Skolik et al., Quantum Machine Intelligence 3, 5, 2021): one layer is trained, then
a layer with zero angles is added and all are trained, and so on; the epochs are shared out equally.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from qmoe_fed.experiments.cells import Measured, to_rows
from qmoe_fed.experiments.datasets import Source, load
from qmoe_fed.experiments.measures.fits import TARGET, fit_all, initial
from qmoe_fed.experiments.models import Model, build
from qmoe_fed.experiments.protocol import Protocol
from qmoe_fed.experiments.statistics import first_epoch
from qmoe_fed.learning import evaluate
from qmoe_fed.models import Parameters


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
    own = replace(protocol, max_epochs=max(1, protocol.max_epochs // len(models)))
    parameters: Parameters = {}
    curves = []
    for model in models:
        module = build(model, data.features, data.classes)
        parameters = grown(parameters, initial(model, source, own, len(rates)))
        fitted = fit_all(module, parameters, source, rates, own)
        parameters = fitted.parameters
        curves.append(fitted.validation_accuracy)
    tests = data.test.select(torch.arange(source.seeds).repeat(len(rates)))
    columns = {
        "rate": np.repeat(rates, source.seeds),
        "seed": [*source.streams] * len(rates),
        "accuracy": evaluate(module, parameters, tests).accuracy.double().numpy(),
        "epochs_to_90": first_epoch(torch.cat(curves, 1).double().numpy(), TARGET),
    }
    return Measured(to_rows(columns))


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
