"""What routers could express, before any training, at random parameters.

Fisher information and effective dimension (Abbas et al., "The power of quantum neural networks",
2021); the alignment of a kernel with labels (Cristianini et al., 2001; centred: Cortes et al.,
2012); frequencies (Schuld, Sweke & Meyer, "Effect of data encoding on the expressive power of
variational quantum machine learning models", 2021); states as in ``circuits.states``.
"""

import math
from collections.abc import Sequence
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
from qmoe_fed.models import MlpRouter, Parameters, QuantumRouter, TrigRouter, initial_parameters
from qmoe_fed.models.routers import trigonometric_features

OWN, WIDE = "own", "[-π, π]"
GRID = 32  # points per feature that spectra are taken from
_SMALL, _ROUNDING = 1e-12, 1e-24  # of probabilities, of their information


def fisher(router: nn.Module, parameters: Parameters, x: Tensor) -> Tensor:
    """Return the Fisher information of P(expert | x), mean over x ``(M, d)``: ``(T, P, P)``.

    ``parameters`` are those of T replicas of a module that maps x to probabilities ``(M, N)``.
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

    With κ = γn / 2π ln n, which must be above 1, and F̂ = P·F / mean trace, F the Fisher information
    at T random parameters, ``(T, P, P)``, it is 2 ln mean √det(1 + κF̂) / ln κ.
    """
    kappa = gamma * samples / (2 * math.pi * math.log(samples))
    if kappa <= 1:
        raise ValueError(f"{samples} samples, γ = {gamma}: κ = {kappa:g} must be above 1")
    draws, count, _ = information.shape
    trace = information.diagonal(dim1=-1, dim2=-2).sum(-1).mean()
    scaled = information * count / trace if trace > _ROUNDING else 0 * information
    halves = torch.linalg.slogdet(torch.eye(count).to(scaled) + kappa * scaled).logabsdet / 2
    return float(2 * (halves.logsumexp(0) - math.log(draws)) / math.log(kappa))


def alignment(kernel: Tensor, y: Tensor, centred: bool = False) -> Tensor:
    """Return the alignment of kernels ``(..., M, M)`` with labels ±1, ``(M,)``, in [-1, 1].

    Centred: of features less their mean over the samples; 0 if they are all alike.
    """
    if centred:
        kernel = kernel - kernel.mean(-1, keepdim=True)
        kernel = kernel - kernel.mean(-2, keepdim=True)
    norms = torch.linalg.matrix_norm(kernel).clamp(min=_SMALL) * len(y)
    return torch.einsum("...ij,i,j->...", kernel, y, y) / norms


def kernel(router: nn.Module, parameters: Parameters, x: Tensor) -> Tensor:
    """Return inner products of a router's features of x ``(M, d)``: ``(T, M, M)`` or ``(M, M)``.

    Of a circuit |⟨ψ(x)|ψ(x')⟩|²; of others of what their last linear map sees, with its bias.
    """
    if isinstance(router, QuantumRouter):
        psi = states(router.circuit, x, parameters["theta"])
        return (psi @ psi.mH).abs() ** 2
    if isinstance(router, TrigRouter):
        features = trigonometric_features(x)
        return features @ features.mT
    if isinstance(router, MlpRouter):
        x = (x @ parameters["hidden.weight"].mT + parameters["hidden.bias"].unsqueeze(-2)).relu()
    return x @ x.mT + 1


def spectrum(router: nn.Module, parameters: Parameters, features: int) -> Tensor:
    """Return the mean power of P(expert 0 | x) by frequency 0, 1 …, ``(GRID / 2 + 1,)``.

    x goes once around [0, 2π) in each feature; the highest frequency of any counts.
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
    model: Model,
    start: str,
    source: Source,
    samples: int,
    draws: int,
    pairs: int,
    sizes: Sequence[int],
) -> Measured:
    """Measure a router at random parameters, with training samples of each seed.

    Args:
        model: Settings of the model.
        start: ``OWN``: parameters are drawn as for training; ``WIDE``: all uniformly in [-π, π].
        source: The data.
        samples: Number M of samples.
        draws: Number T of random parameters.
        pairs: Of states, for expressibility, both of the same uniform x in [0, π].
        sizes: Numbers n of samples that effective dimensions are for.

    Returns:
        A row per seed: ``parameters`` P; ``dimension_<n>`` and ``normalised_<n>``, it over P;
        ``rank`` of the Fisher information and ``directions``, (Σλ)²/Σλ² of its eigenvalues;
        ``alignment``, ``centred``; ``power_1`` …, shares by frequency of the power of P(expert 0 |
        x) but for its mean, ``highest`` with a share above 1e-9; of circuits ``expressibility``,
        ``expressibility_real`` (among real states) and ``entanglement``.
    """
    data, rows = load(source), list[Row]()

    make = partial(build, model, data.features, data.classes)
    router = make().router
    names = {f"router.{name}": name for name, _ in router.named_parameters()}
    each = data.train.x[:, :samples].double(), data.train.y[:, :samples]
    for seed, x, labels in zip(source.streams, *each, strict=True):
        ids = range(seed * draws, (seed + 1) * draws)
        drawn = initial_parameters(make, source.seed, ids, names)
        if start == WIDE:
            for name, own in drawn.items():
                unit = rng.uniform(source.seed, f"expressivity/{name}", ids, tuple(own.shape[1:]))
                drawn[name] = torch.from_numpy(math.pi * (2 * unit - 1))
        parameters = {names[name]: own.double() for name, own in drawn.items()}
        information = fisher(router, parameters, x)
        values, count = torch.linalg.eigvalsh(information).clamp(min=0), information.shape[-1]
        kernels, y = kernel(router, parameters, x), 1 - 2 * (labels != 0).double()
        power = spectrum(router, parameters, data.features)[1:]
        share = (power / power.sum()).tolist()
        found = {n: effective_dimension(information, n) for n in sizes}
        row: Row = {f"dimension_{n}": d for n, d in found.items()}
        row |= {f"normalised_{n}": d / count for n, d in found.items()}
        row |= {f"power_{k}": part for k, part in enumerate(share[:4], 1)}
        ranks = (values > 1e-9 * values.amax(-1, keepdim=True)).sum(-1).double()
        row |= {
            **{"seed": seed, "parameters": count, "rank": float(ranks.mean())},
            "directions": float((values.sum(-1) ** 2 / (values**2).sum(-1)).mean()),
            "alignment": float(alignment(kernels, y).mean()),
            "centred": float(alignment(kernels, y, centred=True).mean()),
            "highest": max(k for k, part in enumerate(share, 1) if part > 1e-9),
        }
        if isinstance(router, QuantumRouter):
            row |= _states(router, source.seed, seed, pairs, data.features)
        rows.append(row)
    return Measured(rows)


def _states(router: QuantumRouter, seed: int, stream: int, pairs: int, features: int) -> Row:
    ids = np.arange(2 * pairs) + stream * 2 * pairs
    x = torch.from_numpy(math.pi * rng.uniform(seed, "states/x", ids[:pairs], (1, features)))
    unit = rng.uniform(seed, "states/theta", ids, (router.circuit.parameters,))
    theta = torch.from_numpy(router.init_bounds["theta"] * (2 * unit - 1))
    psi = states(router.circuit, x.repeat(2, 1, 1), theta).squeeze(-2)
    found, size = fidelities(psi[:pairs], psi[pairs:]), psi.shape[-1]
    return {
        "expressibility": expressibility(found, size),
        "expressibility_real": expressibility(found, size, real=True),
        "entanglement": float(entanglement(psi).mean()),
    }
