"""Clients that never took part: how few labelled samples do they need, given the shared part?

This is the point of sharing a router: a new client keeps it as it is and fits its own experts
only.
"""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from qmoe_fed.config import Config
from qmoe_fed.data import ClientData, Samples
from qmoe_fed.errors import UserError
from qmoe_fed.federated.model import Model
from qmoe_fed.learning import evaluate, train
from qmoe_fed.learning.replicas import expand, join
from qmoe_fed.models import Parameters

Accuracies = dict[int, Tensor]
"""Test accuracy of each client ``(k,)``, by number of labelled samples."""


def fit_unseen(
    model: Model, data: ClientData, shared: Parameters, clients: Sequence[int]
) -> dict[str, Accuracies]:
    """Fit and test unseen clients, once for every number of labelled samples.

    ``shared``: the trained shared parameters stay as they are, only the local ones are fitted, and
    solved experts made of the labelled samples; ``scratch``: all are fitted; ``random``: as
    ``shared``, but with untrained shared parameters, drawn for each client. All sizes are replicas
    of one tensor program, and so are trained and random shared parameters.

    Args:
        model: The run's model; ``unseen-samples`` and ``unseen-epochs`` of its config apply.
        data: The clients' samples; the first m training samples are the labelled ones.
        shared: Shared parameters, ``(*shape)`` each.
        clients: The clients' ids.
    """
    initial = model.initial(model.names, clients)
    start = {name: initial[name] for name in model.local}
    untrained = {name: initial[name] for name in model.shared}
    trained = expand(shared, len(clients))
    by_shared, by_random = fit_few(
        model, data, [{**trained, **start}, {**untrained, **start}], model.local, clients
    )
    (by_scratch,) = fit_few(model, data, [initial], model.names, clients)
    return {"shared": by_shared, "scratch": by_scratch, "random": by_random}


def fit_few(
    model: Model,
    data: ClientData,
    starts: list[Parameters],
    trainable: Sequence[str],
    clients: Sequence[int],
) -> list[Accuracies]:
    """Return the accuracies from each start, training all starts and sizes together.

    Args:
        model: As for ``fit_unseen``.
        data: As for ``fit_unseen``.
        starts: Initial parameters of all clients, ``(k, *shape)`` each; one set per start.
        trainable: Names of the parameters to fit; the others stay as they are.
        clients: The clients' ids.
    """
    sizes = model.config.unseen.sample_sizes
    repeats = len(starts) * len(sizes)
    settings = replace(
        model.config.training, local_epochs=model.config.unseen.unseen_epochs, proximal_mu=0.0
    )
    counts = torch.cat([data.train.counts.clamp(max=m) for m in sizes] * len(starts))
    labelled = replace(_tile(data.train, repeats), counts=counts)
    result = train(
        replace(model.task(trainable), settings=settings),
        join(model.replicas({}, start, clients) for start in starts for _ in sizes),
        labelled,
        list(clients) * repeats,
    )
    tests = _tile(data.test, repeats)
    mixtures = model.mixtures(result.parameters, labelled)
    accuracy = evaluate(model.module, mixtures, tests, settings.execution).accuracy
    rows = accuracy.view(len(starts), len(sizes), len(clients))
    return [dict(zip(sizes, row, strict=True)) for row in rows]


def _tile(samples: Samples, repeats: int) -> Samples:
    return Samples(
        samples.x.repeat(repeats, 1, 1),
        samples.y.repeat(repeats, 1),
        samples.counts.repeat(repeats),
    )


def check_unseen(config: Config, counts: Tensor) -> None:
    """Refuse unseen clients that have fewer samples to train on, ``(k,)``, than are asked for."""
    largest = max(config.unseen.sample_sizes)
    # few samples must not be called many: what unseen clients have must suffice
    if len(counts) and (fewest := int(counts.min())) < largest:
        raise UserError(
            f"unseen-samples asks for {largest} labelled samples, but an unseen client has only "
            f"{fewest} to train on; ask for fewer, or share the data among fewer clients"
        )
