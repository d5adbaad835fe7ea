"""The models of the studies: settings as a federation has them, and what they are built into."""

from collections.abc import Mapping

from torch import nn

from qmoe_fed.config import Config
from qmoe_fed.config.settings import Scalar
from qmoe_fed.experiments.protocol import Protocol
from qmoe_fed.learning.solving import Solve
from qmoe_fed.models import LinearExperts, Mixture, build_model
from qmoe_fed.models.routers import NoChoice

Model = Mapping[str, Scalar]
"""Settings of router and experts that differ from the defaults; empty: one linear classifier."""


def build(model: Model, features: int, classes: int) -> Mixture:
    """Return a module for one replica.

    Raises:
        UserError: A setting is unknown or out of range, or two cannot go together.
    """
    if not model:
        return Mixture(NoChoice(), LinearExperts(features, classes, 1))
    trained = {"expert-fit": "gradient", **model}  # as ``solved`` has it
    return build_model(Config.from_flat(trained).model, features, classes)


def solved(model: Model, features: int, classes: int, protocol: Protocol) -> Solve | None:
    """Return how the experts of a model are solved; None unless ``expert-fit`` says so."""
    if model.get("expert-fit") != "solve":
        return None
    experts = Config.from_flat(model).model.num_experts
    return Solve(experts, features, classes, reach=protocol.batch_size)


def router_parameters(model: nn.Module) -> int:
    """Return the number of parameters of the router, adapters included."""
    return sum(p.numel() for name, p in model.named_parameters() if name.startswith("router."))


def all_parameters(model: nn.Module) -> int:
    """Return the number of parameters of router and experts."""
    return sum(p.numel() for p in model.parameters())
