"""What routers could express, before any training: four measures at random parameters.

- The Fisher information of P(expert | x) and the effective dimension (Abbas et al., "The power of
  quantum neural networks", 2021).
- Expressibility and entangling capability of a circuit's states (Sim et al., 2019).
- How well the kernel of a router's features is aligned with the labels (Cristianini et al., "On
  kernel-target alignment", 2001; centred: Cortes et al., 2012).
- Which frequencies of x are in the weights (Schuld, Sweke & Meyer, "Effect of data encoding on the
  expressive power of variational quantum machine learning models", 2021).
"""

import math
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call, jacrev, vmap

from qmoe_fed import rng
from qmoe_fed.circuits.states import entanglement, expressibility, fidelities, states
from qmoe_fed.experiments.cells import Measured, Row
from qmoe_fed.experiments.datasets import Source, load
from qmoe_fed.experiments.models import Model, build
from qmoe_fed.models import (
    LinearRouter,
    MlpRouter,
    Parameters,
    QuantumRouter,
    TrigRouter,
    initial_parameters,
)
from qmoe_fed.models.routers import trigonometric_features

OWN, WIDE = "own", "[-π, π]"
GRID = 32  # points per feature that spectra are taken from; even, so no frequency above 15
_SMALL, _ROUNDING = 1e-12, 1e-24  # of probabilities, of their information


def fisher(router: nn.Module, parameters: Parameters, x: Tensor) -> Tensor:
    """Return the Fisher information of P(expert | x), mean over x: ``(T, P, P)``.

    Args:
        router: A module that maps x to probabilities ``(M, N)``.
        parameters: Of T replicas, ``(T, *shape)`` each.
        x: Samples, ``(M, d)``.
    """

    def probabilities(own: Parameters, sample: Tensor) -> tuple[Tensor, Tensor]:
        found: Tensor = functional_call(router, own, (sample.unsqueeze(0),)).squeeze(0)
        return found, found

    each = vmap(jacrev(probabilities, has_aux=True), (None, 0))
    jacobians, p = vmap(each, (0, None))(parameters, x)
    slopes = torch.cat([own.flatten(3) for own in jacobians.values()], -1)  # (T, M, N, P)
    scores = slopes / p.clamp(min=_SMALL).sqrt().unsqueeze(-1)
    scores = scores.flatten(1, 2)
    return scores.mT @ scores / len(x)


def effective_dimension(information: Tensor, samples: int, gamma: float = 1.0) -> float:
    """Return the effective dimension for n samples, in [0, P] for n large enough.

    With κ = γn / 2π ln n and F̂ = P·F / mean trace it is 2 ln mean_θ √det(1 + κF̂) / ln κ; 0 if
    nothing depends on the parameters.

    Args:
        information: Fisher information at T random parameters, ``(T, P, P)``.
        samples: n.
        gamma: γ, in (0, 1].

    Raises:
        ValueError: κ is not above 1.
    """
    kappa = gamma * samples / (2 * math.pi * math.log(samples))
    if kappa <= 1:
        raise ValueError(f"{samples} samples, γ = {gamma}: κ = {kappa:g} must be above 1")
    draws, count, _ = information.shape
    trace = information.diagonal(dim1=-1, dim2=-2).sum(-1).mean()
    scaled = information * count / trace if trace > _ROUNDING else 0 * information
    halves = torch.linalg.slogdet(torch.eye(count).to(scaled) + kappa * scaled).logabsdet / 2
    return float(2 * (halves.logsumexp(0) - math.log(draws)) / math.log(kappa))


def alignment(kernel: Tensor, y: Tensor) -> Tensor:
    """Return the alignment of kernels ``(..., M, M)`` with labels ±1 ``(M,)``, in [-1, 1]."""
    target = torch.outer(y, y).to(kernel)
    norms = torch.linalg.matrix_norm(kernel) * torch.linalg.matrix_norm(target)
    return (kernel * target).sum((-1, -2)) / norms


def centred(kernel: Tensor) -> Tensor:
    """Return kernels of features less their mean, ``(..., M, M)``."""
    kernel = kernel - kernel.mean(-1, keepdim=True)
    return kernel - kernel.mean(-2, keepdim=True)


def kernel(router: nn.Module, parameters: Parameters, x: Tensor) -> Tensor:
    """Return inner products of a router's features of x, ``(T or 1, M, M)``.

    Of a circuit |⟨ψ(x)|ψ(x')⟩|²; of the others what their last linear map sees, with its 1.
    """
    if isinstance(router, QuantumRouter):
        psi = states(router.circuit, x, parameters["theta"])
        return (psi @ psi.mH).abs() ** 2
    features = x
    if isinstance(router, MlpRouter):
        hidden = x @ parameters["hidden.weight"].mT + parameters["hidden.bias"].unsqueeze(-2)
        features = hidden.relu()
    elif isinstance(router, TrigRouter):
        features = trigonometric_features(x)
    elif not isinstance(router, LinearRouter):
        raise ValueError(f"no features are known of a {type(router).__name__}")
    bias = 0 if isinstance(router, TrigRouter) else 1  # trigonometric features have a 1
    found = features @ features.mT + bias
    return found if found.dim() == 3 else found.unsqueeze(0)


def spectrum(router: nn.Module, parameters: Parameters, features: int) -> Tensor:
    """Return the mean power of P(expert 0 | x) by frequency 0, 1 …, ``(GRID / 2 + 1,)``.

    The highest frequency of any feature counts; x goes once around [0, 2π) in each. What is not
    periodic jumps there.
    """
    axis = torch.arange(GRID, dtype=torch.float64) * 2 * math.pi / GRID
    x = torch.cartesian_prod(*[axis] * features).view(-1, features)
    outputs = vmap(lambda own: functional_call(router, own, (x,)))(parameters)[..., 0]
    over = outputs.unflatten(-1, (GRID,) * features)
    dims = tuple(range(1, features + 1))
    power = ((torch.fft.fftn(over, dim=dims) / GRID**features).abs() ** 2).mean(0)
    k = (torch.fft.fftfreq(GRID) * GRID).abs().round().long()
    highest = torch.cartesian_prod(*[k] * features).view(-1, features).amax(-1)
    return torch.zeros(GRID // 2 + 1).to(power).index_add(0, highest, power.flatten())


def expressivity(
    model: Model, start: str, source: Source, draws: int, pairs: int, sizes: tuple[int, ...]
) -> Measured:
    """Measure a router at random parameters, with the training samples of each seed.

    Args:
        model: Settings of the model.
        start: ``OWN``: parameters are drawn as for training; ``WIDE``: all uniformly in [-π, π].
        source: The data.
        draws: Number T of random parameters.
        pairs: Of states, for expressibility, each at the same uniform x in [0, π].
        sizes: Numbers n that effective dimensions are for.

    Returns:
        A row per seed: ``parameters`` P; ``dimension_<n>`` and ``normalised_<n>``, it over P;
        ``rank`` of the Fisher information and ``directions``, its participation ratio
        (Σλ)²/Σλ², means over θ; ``alignment``, ``centred``; ``power_1`` …: shares of the power of
        P(expert 0 | x) without its mean by frequency, ``highest`` with a share above 1e-9; of
        circuits ``expressibility``, ``expressibility_real`` and ``entanglement``.
    """
    data, rows = load(source), list[Row]()
    make = partial(_router, model, data.features, data.classes)
    router = make()
    for seed, x, labels in zip(source.streams, data.train.x, data.train.y, strict=True):
        ids, angles = range(seed * draws, (seed + 1) * draws), x.double()
        parameters = initial_parameters(make, source.seed, ids)
        if start == WIDE:
            for name, own in parameters.items():
                unit = rng.uniform(source.seed, f"expressivity/{name}", ids, tuple(own.shape[1:]))
                parameters[name] = torch.from_numpy(math.pi * (2 * unit - 1))
        parameters = {name: own.double() for name, own in parameters.items()}
        information = fisher(router, parameters, angles)
        values = torch.linalg.eigvalsh(information).clamp(min=0)
        total, greatest = values.sum(-1), values.amax(-1, keepdim=True)
        y = 1 - 2 * (labels != 0).double()
        kernels = kernel(router, parameters, angles)
        power = spectrum(router, parameters, data.features)[1:]
        share = power / power.sum()
        row: Row = {"seed": seed, "parameters": information.shape[-1]}
        for n in sizes:
            row[f"dimension_{n}"] = found = effective_dimension(information, n)
            row[f"normalised_{n}"] = found / information.shape[-1]
        row |= {
            "rank": float((values > 1e-9 * greatest).sum(-1).double().mean()),
            "directions": float((total**2 / (values**2).sum(-1)).mean()),
            "alignment": float(alignment(kernels, y).mean()),
            "centred": float(alignment(centred(kernels), y).mean()),
            "highest": int(torch.nonzero(share > 1e-9).max()) + 1,
            **{f"power_{k + 1}": float(share[k]) for k in range(4)},
        }
        if isinstance(router, QuantumRouter):
            row |= _states(router, source.seed, seed, pairs, data.features)
        rows.append(row)
    return Measured(rows)


def _router(model: Model, features: int, classes: int) -> nn.Module:
    return build(model, features, classes).router


def _states(router: QuantumRouter, seed: int, stream: int, pairs: int, features: int) -> Row:
    """Return what is said of the states of a router's circuit."""
    circuit, ids = router.circuit, np.arange(2 * pairs) + stream * 2 * pairs
    x = torch.from_numpy(math.pi * rng.uniform(seed, "states/x", ids[:pairs], (1, features)))
    bound = router.init_bounds["theta"]
    unit = rng.uniform(seed, "states/theta", ids, (circuit.parameters,))
    theta = torch.from_numpy(bound * (2 * unit - 1))
    psi = states(circuit, x.repeat(2, 1, 1), theta).squeeze(-2)
    found, size = fidelities(psi[:pairs], psi[pairs:]), psi.shape[-1]
    return {
        "expressibility": expressibility(found, size),
        "expressibility_real": expressibility(found, size, real=True),
        "entanglement": float(entanglement(psi).mean()),
    }
