"""Gradient inversion: which samples was an update made of? (Zhu et al., "Deep leakage", 2019.)

The attacker knows the shared parameters, the learning rate, the size of the batch and the range of
inputs. It looks for samples, soft labels and whatever else a client keeps to itself, whose gradient
is the one seen: by Adam from many starts at once, of which the best fit counts.
"""

from dataclasses import dataclass, replace

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torch.func import functional_call, grad, vmap

from qmoe_fed.config import Config
from qmoe_fed.data import Samples, shape_of
from qmoe_fed.federated.model import Model
from qmoe_fed.learning.replicas import expand
from qmoe_fed.models import Parameters
from strategies.audits.views import crowd, samples_of, sent_by


@dataclass(frozen=True)
class Recovered:
    """What was found of each target.

    Attributes:
        x: Samples ``(n, B, d)``, of the best start, in the order of the true ones they match best.
        y: Classes ``(n, B)``.
        residual: Squared distance of the gradients over the squared length of the true, ``(n,)``.
    """

    x: Tensor
    y: Tensor
    residual: Tensor


def observe(config: Config, targets: int) -> tuple[Samples, Tensor]:
    """Return the samples of some clients, and the gradients that their updates tell, ``(n, P)``.

    A client takes one step of plain gradient descent on all its samples.
    """
    step = replace(config.training, local_epochs=1, optimizer="sgd", weight_decay=0.0)
    step = replace(step, batch_size=config.data.train_samples)
    config = crowd(replace(config, training=step), targets)
    samples = samples_of(config, range(targets))
    updates = sent_by(config, samples, range(targets))
    return samples, (-updates / step.learning_rate).float()


def invert(
    config: Config, gradients: Tensor, truth: Samples, starts: int = 8, steps: int = 300
) -> Recovered:
    """Return what an attacker makes of gradients ``(n, P)``.

    Args:
        config: The run that the clients are part of.
        gradients: Seen by the attacker, as ``observe`` returns them.
        truth: The clients' samples; only their number and, at the end, their order are used.
        starts: Of the optimiser, for each target.
        steps: Of Adam.
    """
    model, count = Model(config), len(gradients)
    batch, rows = truth.x.shape[1], count * starts
    shape, seed = shape_of(config), config.federation.seed
    generator = torch.Generator().manual_seed(seed)
    free: Parameters = {
        "x": torch.randn(rows, batch, shape.features, generator=generator),
        "y": torch.randn(rows, batch, shape.classes, generator=generator),
        # other clients' experts are what an attacker would start from
        **model.initial(model.local, range(10_000, 10_000 + rows)),
    }
    free = {name: values.clone().requires_grad_() for name, values in free.items()}
    shared, wanted = expand(model.initial_shared(), rows), gradients.repeat_interleave(starts, 0)
    own = list(model.local)
    frozen = expand(model.frozen, rows)

    def loss(shared: Parameters, rest: Parameters, x: Tensor, y: Tensor) -> Tensor:
        scores = functional_call(model.module, {**shared, **rest}, x)
        return -(y * scores.log_softmax(-1)).sum(-1).mean()

    gradient = vmap(grad(loss))
    optimizer = torch.optim.Adam(free.values(), lr=0.1)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    scale = wanted.square().sum(1).clamp(min=1e-20)
    residual = torch.zeros(rows)
    for _ in range(steps):
        rest = {name: free[name] for name in own} | frozen
        found = gradient(shared, rest, torch.pi * free["x"].sigmoid(), free["y"].softmax(-1))
        flat = torch.cat([found[name].reshape(rows, -1) for name in model.layout.names], 1)
        residual = (flat - wanted).square().sum(1) / scale
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


def matching(true: Tensor, found: Tensor) -> Tensor:
    """Return which found sample belongs to each true one ``(B, d)``: the nearest in sum."""
    return torch.from_numpy(linear_sum_assignment(torch.cdist(true, found).numpy())[1])


def errors(true: Tensor, found: Tensor) -> Tensor:
    """Return the mean distance of found samples ``(n, B, d)`` from the true, ``(n,)``."""
    return (true - found).norm(dim=-1).mean(1)
