"""Published ways to a model for each client, and a classical one, to compare with."""

from collections.abc import Callable
from dataclasses import replace

import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from qmoe_fed.data import Samples
from qmoe_fed.learning import Task
from qmoe_fed.learning.trainer import Loss, cross_entropy_of
from qmoe_fed.models import Mixture, Parameters


def attached(task: Task, pull: float) -> Task:
    """Return a task whose every parameter is pulled to the anchor of a step.

    The personal objective of Ditto (Li et al., "Ditto: fair and robust federated learning through
    personalization", 2021): own loss + λ/2 ‖v − w‖².

    Args:
        task: What is trained.
        pull: λ ≥ 0.
    """
    settings = replace(task.settings, proximal_mu=pull)
    return replace(task, settings=settings, anchored=task.trainable)


def adapted_loss(step: float) -> Loss:
    """Return the loss after one step of gradient descent: one half for the step, one to test it.

    First-order model-agnostic meta-learning, Per-FedAvg (FO) of Fallah et al., "Personalized
    federated learning: a meta-learning approach" (2020): the step's own derivative is left out.
    """

    def loss(
        model: Mixture, parameters: Parameters, samples: Samples, _: Tensor, execution: str
    ) -> Tensor:
        real = samples.mask
        first = torch.arange(real.shape[1]) < samples.counts[:, None] // 2
        found = _gradient(model, parameters, samples, first, execution)
        moved = {name: values - step * found[name] for name, values in parameters.items()}
        return cross_entropy_of(model, moved, samples, real & ~first, execution)

    return loss


def adapt(model: Mixture, parameters: Parameters, samples: Samples, step: float) -> Parameters:
    """Return the parameters ``(K, *shape)`` after one step of gradient descent on all samples."""
    found = _gradient(model, parameters, samples, samples.mask, "vmap")
    return {name: values - step * found[name] for name, values in parameters.items()}


def _gradient(
    model: Mixture, parameters: Parameters, samples: Samples, active: Tensor, execution: str
) -> Parameters:
    """Return the gradient of each replica's mean cross-entropy over its active samples."""
    inputs = {name: values.detach().clone().requires_grad_() for name, values in parameters.items()}
    loss = cross_entropy_of(model, inputs, samples, active, execution)
    return dict(zip(inputs, torch.autograd.grad(loss.sum(), list(inputs.values())), strict=True))


def logistic(
    parts: Callable[[Tensor], tuple[Tensor, Tensor]], own: Samples, test: Samples, strength: float
) -> Tensor:
    """Return the test accuracy of logistic regressions, ``(K,)``.

    Args:
        parts: Returns what the router and what the experts see; the regression sees the latter.
        own: Samples of each client, or of one row for all.
        test: Test samples of each client.
        strength: Scikit-learn's C, the inverse of the ridge.
    """
    models = [_regression(parts, own, row, strength) for row in range(len(own.counts))]
    models *= len(test.counts) // len(models)
    accuracies = []
    for row, predict in enumerate(models):
        count = int(test.counts[row])
        guess = predict(parts(test.x[row, :count])[1])
        accuracies.append((guess == test.y[row, :count]).double().mean())
    return torch.stack(accuracies)


def _regression(
    parts: Callable[[Tensor], tuple[Tensor, Tensor]], own: Samples, row: int, strength: float
) -> Callable[[Tensor], Tensor]:
    count = int(own.counts[row])
    x, y = parts(own.x[row, :count])[1], own.y[row, :count]
    if len(y.unique()) == 1:  # there is nothing to tell apart
        return lambda inputs: y[0].expand(len(inputs))
    model = LogisticRegression(C=strength, max_iter=1000).fit(x.numpy(), y.numpy())
    return lambda inputs: torch.from_numpy(model.predict(inputs.numpy()))
