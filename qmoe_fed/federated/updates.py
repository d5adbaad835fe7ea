"""The one form of the clients' updates: a matrix with a row per client, and its layout."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import compress
from math import prod

import torch
from torch import Tensor

from qmoe_fed.models import Parameters


@dataclass(frozen=True)
class Layout:
    """How the shared parameters lie in a vector of P numbers: their shapes, in order."""

    shapes: Mapping[str, tuple[int, ...]]
    angles: frozenset[str] = frozenset()  # names of parameters that are angles, shared or not

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The names of the parameters, in order."""
        return tuple(self.shapes)

    @cached_property
    def sizes(self) -> list[int]:
        """How many numbers each parameter is."""
        return [prod(shape) for shape in self.shapes.values()]

    @property
    def size(self) -> int:
        """P, how many numbers all parameters are."""
        return sum(self.sizes)

    @cached_property
    def is_angle(self) -> Tensor:
        """Which of the numbers are angles, ``(P,)``."""
        flags = torch.tensor([name in self.angles for name in self.names], dtype=torch.bool)
        return flags.repeat_interleave(torch.tensor(self.sizes, dtype=torch.long))

    def flat(self, parameters: Parameters, *rows: int) -> Tensor:
        """Return ``(*rows, *shape)`` each as one ``(*rows, P)``, float64."""
        parts = [parameters[name].double().reshape(*rows, -1) for name in self.names]
        return torch.cat(parts, -1) if parts else torch.zeros(*rows, 0, dtype=torch.float64)

    def parameters(self, values: Tensor) -> Parameters:
        """Return values ``(…, P)`` as parameters ``(…, *shape)``, float32."""
        lead, parts = values.shape[:-1], values.float().split(self.sizes, -1)
        shapes = zip(self.shapes.items(), parts, strict=True)
        return {name: part.reshape((*lead, *shape)) for (name, shape), part in shapes}


@dataclass(frozen=True)
class Rejection:
    """A client whose update does not count, and why."""

    client: int
    reason: str


@dataclass(frozen=True)
class Cohort:
    """What came back from one round of training, one row per client, in client order.

    Attributes:
        clients: Client ids, ascending.
        updates: Shape ``(C, P)``, float64: local minus shared parameters.
        weights: Shape ``(C,)``, or ``(C, P)`` where clients train only some of the parameters, 0
            for the others; float64.
        losses: Shape ``(C,)``, float64: mean training loss of the round.
    """

    clients: tuple[int, ...]
    updates: Tensor
    weights: Tensor
    losses: Tensor

    @classmethod
    def of_nobody(cls, size: int) -> "Cohort":
        """Return the cohort of a round without clients."""
        nothing = torch.zeros(0, dtype=torch.float64)
        return cls((), nothing.new_zeros(0, size), nothing, nothing)

    @classmethod
    def join(cls, parts: Sequence["Cohort"]) -> "Cohort":
        """Return the clients of several cohorts, at least one, as one."""
        ids = [client for part in parts for client in part.clients]
        order = torch.tensor(ids).argsort()
        columns = zip(*((p.updates, p.weights, p.losses) for p in parts), strict=True)
        return cls(tuple(sorted(ids)), *(torch.cat(values)[order] for values in columns))

    def select(self, keep: Tensor) -> "Cohort":
        """Return the cohort of the clients marked True, ``(C,)``."""
        clients = tuple(compress(self.clients, keep.tolist()))
        return Cohort(clients, self.updates[keep], self.weights[keep], self.losses[keep])


@dataclass(frozen=True)
class ClientTable:
    """Metrics of clients: ids ``(k,)``, ascending, and columns by name, ``(k,)`` float64 each."""

    clients: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.long))
    columns: dict[str, Tensor] = field(default_factory=dict)

    @classmethod
    def of_means(cls, means: dict[str, Tensor]) -> "ClientTable":
        """Return a table of nobody in particular: means over all clients, ``()`` each."""
        return cls(columns=means)


@dataclass(frozen=True)
class Limits:
    """What a client's row must stay within."""

    max_update_norm: float = 100.0  # L2, of all shared parameters, before angles are in (-π, π]
    max_weight: float = 1e6  # number of examples; the least is 1


def check_rows(cohort: Cohort, limits: Limits) -> tuple[Cohort, list[Rejection]]:
    """Return the clients whose rows are within the limits, and why the others are not."""
    updates, weights, losses = cohort.updates, cohort.weights, cohort.losses
    norms, norm = torch.linalg.vector_norm(updates, dim=1), limits.max_update_norm
    examples = weights if weights.dim() == 1 else weights.amax(1)
    above = f"more than max-update-norm = {norm:g}"
    usual = (examples >= 1) & (examples <= limits.max_weight)
    outside = f"not in [1, {limits.max_weight:g}]"
    checks = [
        (updates.isfinite().all(1), lambda i: "update is not finite"),
        (norms <= norm, lambda i: f"norm of the update is {norms[i]:.6g}, {above}"),
        (usual, lambda i: f"num-examples is {examples[i]:g}, {outside}"),
        (losses.isfinite(), lambda i: f"train-loss is {losses[i]:g}"),
    ]
    good, rejections = torch.ones(len(cohort.clients), dtype=torch.bool), list[Rejection]()
    for passed, reason in checks:
        bad = (good & ~passed).nonzero().flatten().tolist()
        rejections += [Rejection(cohort.clients[row], reason(row)) for row in bad]
        good &= passed
    return cohort if good.all() else cohort.select(good), rejections
