"""What is tried before any client starts, so that no setting makes a run fail half way."""

import torch
from torch import Tensor

from qmoe_fed.config import Config
from qmoe_fed.data import Projection, load_clients, shape_of
from qmoe_fed.errors import UserError
from qmoe_fed.federated.model import Model


def refuse_what_cannot_work(model: Model, projection: Projection) -> None:
    """Try everything that could fail for a reason in the settings.

    Raises:
        UserError: Something does not work; the message says what to change.
    """
    config = model.config
    data = load_clients(config, [0], projection)
    _check_outputs(model, data.train.x[0].to(config.training.device))
    _check_unseen_samples(config, projection)


def _check_outputs(model: Model, x: Tensor) -> None:
    """Refuse a user's router or expert whose outputs for x ``(B, d)`` are not what they must be."""
    settings, classes = model.config.model, shape_of(model.config).classes
    with torch.no_grad():
        weights, outputs = model.module.router(x), model.module.experts(x)
    if weights.shape != (len(x), settings.num_experts):
        raise UserError(
            f"router {settings.router!r} returns shape {tuple(weights.shape)} for x of shape "
            f"{tuple(x.shape)}: expected one weight per expert, {(len(x), settings.num_experts)}"
        )
    if not ((weights >= -1e-3).all() and ((weights.sum(-1) - 1).abs() < 1e-3).all()):
        raise UserError(
            f"router {settings.router!r} returns {weights[0].tolist()} for the first sample: "
            "expected weights that are not negative and sum to 1; end it with softmax(-1)"
        )
    if outputs.shape != (len(x), settings.num_experts, classes):
        raise UserError(
            f"expert {settings.expert!r} returns shape {(len(x), *outputs.shape[2:])} for x of "
            f"shape {tuple(x.shape)}: expected one score per class, {(len(x), classes)}"
        )


def _check_unseen_samples(config: Config, projection: Projection) -> None:
    """Refuse to call few samples many: what unseen clients have must suffice."""
    unseen, largest = config.federation.unseen_clients, max(config.unseen.sample_sizes)
    counts = load_clients(config, unseen, projection).train.counts
    if unseen and (fewest := int(counts.min())) < largest:
        raise UserError(
            f"unseen-samples asks for {largest} labelled samples, but an unseen client has only "
            f"{fewest} to train on; ask for fewer, or share the data among fewer clients"
        )
