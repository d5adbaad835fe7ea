"""A circuit trained in stages: layer by layer, or with its optimiser restarted as often.

Layer by layer (Skolik et al., Quantum Machine Intelligence 3, 5, 2021): one layer is trained, then
a layer with zero angles is added and all are trained, and so on; the epochs are shared out equally.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import torch

from qmoe_fed.experiments.cells import Measured, to_rows
from qmoe_fed.experiments.datasets import Source, load
from qmoe_fed.experiments.measures.fits import TARGET, fit_all
from qmoe_fed.experiments.models import Model
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
    own = replace(protocol, max_epochs=max(1, protocol.max_epochs // len(models)))
    parameters: Parameters = {}
    curves = []
    for model in models:
        module, fitted = fit_all(model, source, rates, own, partial(grown, parameters))
        parameters = fitted.parameters
        curves.append(fitted.validation_accuracy)
    tests = load(source).test.select(torch.arange(source.seeds).repeat(len(rates)))
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
