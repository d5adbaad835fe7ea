"""What trains a router whose experts are solved: how well they do on samples they were not shown.

A step takes some of a client's own samples, solves its experts on one part of them (the support)
and returns the cross-entropy of the rest (the query); its gradient, through the solution, is that
of the router's parameters and of the fit's own: those of λ, log s and, where there is one, the
prior. Nothing here remembers a client: outside of training, experts are solved on all its samples.

How strong a ridge serves best depends on how many samples there are, so λ is learnt as a law,
λ(n) = λ₈ (n / 8)^slope: the steps see supports of many sizes. (Choosing λ for each client by
leave-one-out gained nothing beyond it and cost a client with 8 samples up to 7 points.)
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from qmoe_fed.data import Samples
from qmoe_fed.learning.routing import routing_weights
from qmoe_fed.models import Mixture, Parameters
from qmoe_fed.models.solve import CENTRE, answer, solve, targets, to_experts

RIDGE, SLOPE, SCALE, PRIOR = "fit.log_ridge", "fit.ridge_slope", "fit.log_scale", "fit.prior"
"""Names of the fit's parameters: log λ₈, slope and log s ``()``, W₀ ``(N, C, D + 1)``."""


EXPERTS = ("experts.weight", "experts.bias")

REFERENCE = 8
"""Number of samples at which λ(n) = λ₈."""

START_SCALE = 4.0

MEMORY = 2**24
"""Numbers held at once for clients that are solved side by side (128 MiB)."""


@dataclass(frozen=True)
class Solve:
    """How experts are solved.

    Attributes:
        classes: Number of classes C.
        least: Smallest share of a step's samples that is its support: 0 where a prior answers for
            no samples at all, else more.
        most: Largest share, below 1.
        reach: Number of samples above which λ stays as it is: the most that a step has shown.
    """

    classes: int
    least: float = 1 / 8
    most: float = 3 / 4
    reach: int = 32

    def initial(
        self, experts: int, features: int, prior: bool, replicas: int, ridge: float = 1.0
    ) -> Parameters:
        """Return the fit's parameters at the start, of K replicas: slope 0, s = 4, W₀ = 0."""
        fit = {
            RIDGE: torch.full((replicas,), ridge).log(),
            SLOPE: torch.zeros(replicas),
            SCALE: torch.full((replicas,), START_SCALE).log(),
        }
        if prior:
            fit[PRIOR] = torch.zeros(replicas, experts, self.classes, features + 1)
        return fit

    def ridge(self, parameters: Parameters, counts: Tensor) -> Tensor:
        """Return λ of replicas with so many samples, ``(K,)``."""
        size = counts.clamp(min=1, max=self.reach) / REFERENCE
        return (parameters[RIDGE] + parameters[SLOPE] * size.log()).exp()

    def support(self, active: Tensor, draws: Tensor) -> Tensor:
        """Return which samples of a step are the support, ``(K, B)``; the other active ones: query.

        Samples come in random order, the real ones first; the support is the first ⌊share·count⌋
        of them, so that at least one is left.

        Args:
            active: Which samples are real and not padding, ``(K, B)``.
            draws: Uniform numbers in [0, 1), ``(K,)``; each becomes a share.
        """
        size = ((self.least + (self.most - self.least) * draws) * active.sum(1)).floor()
        return active & (torch.arange(active.shape[1], device=active.device) < size[:, None])

    def loss(
        self, routing: Tensor, parameters: Parameters, step: Samples, support: Tensor
    ) -> Tensor:
        """Return the mean cross-entropy of each replica's query, ``(K,)``; its gradient is ours.

        Args:
            routing: Routing weights of all samples of the step, ``(K, B, N)``.
            parameters: Of the fit, ``(K, *shape)`` each; others are not looked at.
            step: The samples of the step.
            support: Which of them experts are solved on, ``(K, B)``.
        """
        inputs = step.x - CENTRE
        found = self._solve(routing, inputs, step.y, support, parameters)
        scale = parameters[SCALE].exp()[:, None, None]
        logits = scale * answer(routing, inputs, found).mT.to(scale)  # (K, C, B), as it lies
        losses = cross_entropy(logits, step.y, reduction="none")
        query = step.mask & ~support
        return (losses * query).sum(1) / query.sum(1).clamp(min=1)

    def _solve(
        self, routing: Tensor, inputs: Tensor, y: Tensor, mask: Tensor, parameters: Parameters
    ) -> Tensor:
        ridge = self.ridge(parameters, mask.sum(1))
        goal = targets(y, self.classes)
        return solve(routing, inputs, goal, mask, ridge, parameters.get(PRIOR))


@torch.no_grad()
def solved_experts(
    fit: Solve, model: Mixture, parameters: Parameters, samples: Samples, execution: str = "vmap"
) -> Parameters:
    """Return the experts of K clients, solved on all their samples, as those of a mixture.

    Args:
        fit: How they are solved.
        model: A module for one replica, with linear experts; theirs are not used.
        parameters: Of the router and the fit, ``(K, *shape)`` each.
        samples: The clients' samples; a client with none gets the prior.
        execution: ``vmap`` or ``serial``: how the router is run.

    Returns:
        Weight ``(K, N, C, D)`` and bias ``(K, N, C)`` by their names in a mixture.
    """
    clients, most, features = samples.x.shape
    experts = model.experts.bias.shape[0]
    each = most * (2 * features + min(most, experts * (features + 1)) + experts * fit.classes)
    chunk = max(1, MEMORY // max(1, each))
    parts = []
    for start in range(0, clients, chunk):
        rows = slice(start, start + chunk)
        own, part = {n: p[rows] for n, p in parameters.items()}, samples.select(rows)
        routing = routing_weights(model, own, part.x, execution)
        found = fit._solve(routing, part.x - CENTRE, part.y, part.mask, own)
        parts.append(to_experts(found, own[SCALE].exp()))
    return dict(zip(EXPERTS, (torch.cat(values) for values in zip(*parts, strict=True)), strict=True))
