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
from qmoe_fed.learning.replicas import join, rows_of
from qmoe_fed.learning.routing import routing_weights
from qmoe_fed.models import Mixture, Parameters
from qmoe_fed.models.lanes import fitted
from qmoe_fed.models.solve import CENTRE, solve, targets, to_experts

RIDGE, SLOPE, SCALE, PRIOR = "fit.log_ridge", "fit.ridge_slope", "fit.log_scale", "fit.prior"
"""Names of the fit's parameters: log λ₈, slope and log s ``()``; W₀ √(D / 2) ``(N, C, D + 1)``.

So scaled, a step of Adam changes what the prior answers as much for 784 inputs as for two.
"""

REFERENCE = 8
"""Number of samples at which λ(n) = λ₈."""

START_SCALE = 4.0

MEMORY = 2**22
"""Numbers held at once for clients that are solved side by side (32 MiB, for the cache's sake)."""


@dataclass(frozen=True)
class Solve:
    """How experts are solved.

    Attributes:
        experts: Number of experts N.
        features: Number of inputs D of an expert.
        classes: Number of classes C.
        prior: Whether there is a prior; else experts are solved toward zero.
        most: Largest share of a step's samples that is its support, below 1. The smallest is 0
            where a prior answers for no samples at all, else 1/8.
        reach: Number of samples above which λ stays as it is: the most that a step has shown.
        start: λ at the start.
    """

    experts: int
    features: int
    classes: int
    prior: bool = False
    most: float = 3 / 4
    reach: int = 32
    start: float = 1.0

    def initial(self, replicas: int) -> Parameters:
        """Return the fit's parameters at the start, ``(K, *shape)``: slope 0, s = 4, W₀ = 0."""
        fit = {
            RIDGE: torch.full((replicas,), self.start).log(),
            SLOPE: torch.zeros(replicas),
            SCALE: torch.full((replicas,), START_SCALE).log(),
        }
        if self.prior:
            fit[PRIOR] = torch.zeros(replicas, self.experts, self.classes, self.features + 1)
        return fit

    def ridge(self, parameters: Parameters, counts: Tensor) -> Tensor:
        """Return λ of replicas that hold so many samples, ``(K,)``."""
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
        least = 0.0 if self.prior else 1 / 8
        size = ((least + (self.most - least) * draws) * active.sum(1)).floor()
        return active & (torch.arange(active.shape[1], device=active.device) < size[:, None])

    def loss(
        self,
        model: Mixture,
        parameters: Parameters,
        step: Samples,
        draws: Tensor,
        execution: str = "vmap",
    ) -> Tensor:
        """Return the mean cross-entropy of each replica's query, ``(K,)``.

        Args:
            model: A module for one replica, with linear experts; theirs are not used.
            parameters: Of the router and the fit, ``(K, *shape)`` each.
            step: The samples of the step, in random order.
            draws: Uniform numbers in [0, 1), ``(K,)``, which part them.
            execution: ``vmap`` or ``serial``: how the router is run.
        """
        active = step.mask
        support = self.support(active, draws)
        routing, inputs = self._look(model, parameters, step.x, execution)
        scale = parameters[SCALE].exp()[:, None, None]
        logits = scale * fitted(*self._problem(routing, inputs, step.y, support, parameters))
        losses = cross_entropy(logits, step.y, reduction="none")
        query = active & ~support
        return (losses * query).sum(1) / query.sum(1).clamp(min=1)

    @torch.no_grad()
    def solved(
        self, model: Mixture, parameters: Parameters, samples: Samples, execution: str = "vmap"
    ) -> Parameters:
        """Return the experts of K clients, solved on all their samples, as those of a mixture.

        Args:
            model: As for ``loss``.
            parameters: As for ``loss``.
            samples: The clients' samples; a client with none gets the prior.
            execution: As for ``loss``.

        Returns:
            Weight ``(K, N, C, D)`` and bias ``(K, N, C)`` by their names in a mixture.
        """
        most, unknowns = samples.x.shape[1], self.experts * (self.features + 1)
        each = most * (2 * self.features + min(most, unknowns) + self.experts * self.classes)
        chunk = max(1, MEMORY // max(1, each))
        parts = []
        for start in range(0, len(samples.counts), chunk):
            rows = slice(start, start + chunk)
            own, part = rows_of(parameters, rows), samples.select(rows)
            part = part.first(int(part.counts.max()))
            routing, inputs = self._look(model, own, part.x, execution)
            found = solve(*self._problem(routing, inputs, part.y, part.mask, own))
            weight, bias = to_experts(found, own[SCALE].exp(), _centre(model))
            parts.append({"experts.weight": weight, "experts.bias": bias})
        return join(parts)

    def mixtures(
        self, model: Mixture, parameters: Parameters, samples: Samples, execution: str = "vmap"
    ) -> Parameters:
        """Return the parameters of mixtures: ``solved`` experts in place of the fit's own."""
        own = {name: values for name, values in parameters.items() if not name.startswith("fit.")}
        return {**own, **self.solved(model, parameters, samples, execution)}

    def _look(
        self, model: Mixture, parameters: Parameters, x: Tensor, execution: str
    ) -> tuple[Tensor, Tensor]:
        """Return the routing weights of samples and what their experts see, centred."""
        inputs = model.parts(x)[1] - _centre(model)
        return routing_weights(model, parameters, x, execution), inputs

    def _problem(
        self, routing: Tensor, inputs: Tensor, y: Tensor, mask: Tensor, parameters: Parameters
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor | None]:
        """Return the arguments of ``solve``."""
        prior = parameters[PRIOR] * (2 / self.features) ** 0.5 if self.prior else None
        ridge = self.ridge(parameters, mask.sum(1))
        return routing, inputs, targets(y, self.classes), mask, ridge, prior


def _centre(model: Mixture) -> float:
    """Return the middle of what experts see: that of an angle, or zero."""
    return 0.0 if model.router_width else CENTRE
