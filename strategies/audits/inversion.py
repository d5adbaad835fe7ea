"""Gradient inversion: which samples was an update made of? (Zhu et al., "Deep leakage", 2019.)

The attacker knows the shared parameters, the learning rate, the number of samples and steps and the
range of inputs; of experts that are solved, also which samples each step solves them on. It looks
for samples, soft labels and whatever else a client keeps to itself, whose update is the one seen:
by Adam from many starts at once, of which the best fit counts. Several steps are unrolled.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from qmoe_fed import rng
from qmoe_fed.config import Config
from qmoe_fed.data import Samples, shape_of
from qmoe_fed.federated.model import Model
from qmoe_fed.learning.replicas import apply, expand, ravel
from qmoe_fed.learning.routing import routing_weights
from qmoe_fed.learning.solving import PRIOR, SCALE, Solve
from qmoe_fed.models import Mixture, Parameters
from qmoe_fed.models.solve import CENTRE
from strategies.audits.views import crowd, samples_of, sent_by


@dataclass(frozen=True)
class Recovered:
    """What was found of each target.

    Attributes:
        x: Samples ``(n, B, d)``, of the best start, in the order of the true ones they match best.
        y: Classes ``(n, B)``.
        residual: Squared distance of the updates over the squared length of the true, ``(n,)``.
    """

    x: Tensor
    y: Tensor
    residual: Tensor


def observe(config: Config, targets: int, local_steps: int = 1) -> tuple[Samples, Tensor]:
    """Return the samples of some clients, and what their updates tell, ``(n, P)``.

    A client takes steps of plain gradient descent, each on all its samples; what is told is the sum
    of the gradients.
    """
    config = plain_descent(crowd(config, targets), local_steps)
    samples = samples_of(config, range(targets))
    updates = sent_by(config, samples, range(targets))
    return samples, (-updates / config.training.learning_rate).float()


def plain_descent(config: Config, local_steps: int) -> Config:
    """Return a run whose clients take so many steps of gradient descent on all their samples."""
    step = replace(config.training, local_epochs=local_steps, optimizer="sgd", weight_decay=0.0)
    return replace(config, training=replace(step, batch_size=config.data.train_samples))


def invert(
    config: Config,
    gradients: Tensor,
    truth: Samples,
    starts: int = 8,
    steps: int = 300,
    local_steps: int = 1,
) -> Recovered:
    """Return what an attacker makes of gradients ``(n, P)``.

    Args:
        config: The run that the clients are part of.
        gradients: Seen by the attacker, as ``observe`` returns them.
        truth: The clients' samples; only their number and, at the end, their order are used.
        starts: Of the optimiser, for each target.
        steps: Of Adam.
        local_steps: Of a client, as for ``observe``.
    """
    model, count = Model(plain_descent(config, local_steps)), len(gradients)
    batch, rows, shape = truth.x.shape[1], len(gradients) * starts, shape_of(config)
    generator = torch.Generator().manual_seed(config.federation.seed)
    free: Parameters = {
        "x": torch.randn(rows, batch, shape.features, generator=generator),
        "y": torch.randn(rows, batch, shape.classes, generator=generator),
        # other clients' experts are what an attacker would start from
        **model.initial(model.local, range(10_000, 10_000 + rows)),
    }
    free = {name: values.clone().requires_grad_() for name, values in free.items()}
    wanted = gradients.repeat_interleave(starts, 0)
    clients = torch.arange(count).repeat_interleave(starts).tolist()
    optimizer = torch.optim.Adam(free.values(), lr=0.1)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    scale = wanted.square().sum(1).clamp(min=1e-20)
    residual = torch.zeros(rows)
    for _ in range(steps):
        own = {name: free[name] for name in model.local}
        x, y = torch.pi * free["x"].sigmoid(), free["y"].softmax(-1)
        residual = (told(model, own, x, y, clients) - wanted).square().sum(1) / scale
        optimizer.zero_grad()
        residual.sum().backward()
        optimizer.step()
        schedule.step()
    best = residual.detach().view(count, starts).nan_to_num(torch.inf).argmin(1)
    chosen = torch.arange(count) * starts + best
    x = (torch.pi * free["x"].sigmoid()).detach()[chosen]
    y = free["y"].detach()[chosen].argmax(-1)
    order = torch.stack([matching(a, b) for a, b in zip(truth.x, x, strict=True)])
    x, y = x.take_along_dim(order[..., None], 1), y.take_along_dim(order, 1)
    return Recovered(x, y, residual.detach()[chosen])


def told(model: Model, own: Parameters, x: Tensor, y: Tensor, clients: list[int]) -> Tensor:
    """Return the sum of the gradients of clients' steps, ``(K, P)``, differentiable twice.

    The model is of a run as ``plain_descent`` returns it; ``own`` is what clients keep to
    themselves, x ``(K, B, d)`` their samples, y ``(K, B, C)`` soft labels; their ids say in which
    order and on which support each step takes them.
    """
    seed, rows, everything = model.config.federation.seed, len(x), torch.ones(x.shape[:2]).bool()
    epochs, rate = model.config.training.local_epochs, model.config.training.learning_rate
    start, frozen = expand(model.initial_shared(), rows), expand(model.frozen, rows)
    weights = {**start, **own}
    weights = {n: v if v.requires_grad else v.clone().requires_grad_() for n, v in weights.items()}
    counts = np.full(rows, x.shape[1])
    order = torch.from_numpy(rng.permutation(seed, "batches", clients, counts, epochs, 1))
    for epoch in range(epochs):
        now = order[:, epoch, :, None]
        seen, labels = x.take_along_dim(now, 1), y.take_along_dim(now, 1)
        if model.solve:
            draws = rng.uniform(seed, f"support/{epoch}", clients, (1,), 1)[:, 0]
            support = model.solve.support(everything, torch.from_numpy(draws).float())
            scores = solved(model.module, model.solve, weights | frozen, seen, labels, support)
        else:
            support, scores = ~everything, apply(model.module, weights | frozen, seen)
        losses = -(labels * scores.log_softmax(-1)).sum(-1) * ~support
        loss = (losses.sum(-1) / (~support).sum(-1)).sum()
        found = torch.autograd.grad(loss, [*weights.values()], create_graph=True)
        moved = zip(weights.items(), found, strict=True)
        weights = {name: value - rate * slope for (name, value), slope in moved}
    return ravel({n: (start[n] - weights[n]) / rate for n in model.layout.names}, rows)


def solved(
    module: Mixture, solve: Solve, parameters: Parameters, x: Tensor, y: Tensor, support: Tensor
) -> Tensor:
    """Return class scores ``(K, B, C)`` as ``Solve``, whose solution has no second derivative."""
    routing, inputs = routing_weights(module, parameters, x), module.parts(x)[1] - CENTRE
    wide = torch.cat([inputs, torch.ones_like(inputs[..., :1])], -1)
    phi = (routing[..., None] * wide[..., None, :]).flatten(-2).double()  # (K, B, N (D + 1))
    prior = phi.new_zeros(len(x), phi.shape[-1], y.shape[-1])
    if solve.prior:
        scaled = parameters[PRIOR] * (2 / solve.features) ** 0.5
        prior = scaled.transpose(-1, -2).flatten(1, 2).double()
    ridge, known = solve.ridge(parameters, support.sum(1)).double(), phi * support[..., None]
    left = known.mT @ known + ridge[:, None, None] * torch.eye(phi.shape[-1], dtype=phi.dtype)
    goal = y.double() - 1 / y.shape[-1] - phi @ prior
    found = prior + torch.linalg.solve(left, known.mT @ goal)
    return parameters[SCALE].exp()[:, None, None] * (phi @ found)


def matching(true: Tensor, found: Tensor) -> Tensor:
    """Return which found sample belongs to each true one ``(B, d)``: the nearest in sum."""
    return torch.from_numpy(linear_sum_assignment(torch.cdist(true, found).numpy())[1])


def errors(true: Tensor, found: Tensor) -> Tensor:
    """Return the mean distance of found samples ``(n, B, d)`` from the true, ``(n,)``."""
    return (true - found).norm(dim=-1).mean(1)
