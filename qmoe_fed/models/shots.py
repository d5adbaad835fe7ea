"""Finite shots: frequencies of outcomes instead of their probabilities, as hardware returns them.

What a replica draws is a function of its key alone, not of the replicas and samples beside it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from qmoe_fed import rng
from qmoe_fed.circuits import Circuit, Engine
from qmoe_fed.models.shifts import shift

FORWARD, SHIFTED = range(2)
"""Streams of draws that a key has."""


def draw_keys(seed: int, clients: Sequence[int], server_round: int = 0, step: int = 0) -> Tensor:
    """Return the key of each client's draws, ``(K,)`` int64 from 0; other steps, other keys.

    Args:
        seed: Of the run.
        clients: Ids.
        server_round: The round, or epoch of a study.
        step: Number of the training step in the round; -1 for an evaluation.
    """
    unit = rng.uniform(seed, f"shots/{step}", clients, (), server_round)
    return torch.from_numpy((unit * 2.0**53).astype(np.int64))


@dataclass(frozen=True, eq=False)
class Shots:
    """A circuit that is run and measured a number of times for every sample.

    Attributes:
        circuit: The circuit; expectations are averages over the same outcomes.
        engine: Returns the probabilities of the outcomes.
        number: Number of shots; 0 takes the probabilities themselves, as infinitely many would.
    """

    circuit: Circuit
    engine: Engine
    number: int

    def __call__(self, x: Tensor, theta: Tensor, strengths: Tensor | None, draw: Tensor) -> Tensor:
        """Return estimates of what the circuit reads out, ``(..., B, outputs)``.

        They can be differentiated with respect to θ, by parameter shift, and to nothing else.

        Args:
            x: Features in radians, ``(..., B, d)``.
            theta: Parameters in radians, ``(..., P)``.
            strengths: Of the circuit's slots, ``(..., S)``; None if there are none.
            draw: Keys as of ``draw_keys``, one for all samples of a replica, ``(...)``.

        Raises:
            ValueError: A key is negative: none has been given.
        """
        strengths = x.new_zeros(0) if strengths is None else strengths
        found: Tensor = _Sampled.apply(theta, x, strengths, draw, self)  # type: ignore[no-untyped-call]
        if self.circuit.readout == "probs":
            return found
        places = torch.arange(self.circuit.measured - 1, -1, -1, device=found.device)
        outcomes = torch.arange(found.shape[-1], device=found.device)
        return found @ (1 - 2 * (outcomes[:, None] >> places & 1)).to(found.dtype)

    def frequencies(self, theta: Tensor, x: Tensor, strengths: Tensor, draw: Tensor) -> Tensor:
        """Return frequencies of the outcomes, ``(..., B, 2^measured)``."""
        p = self.engine(replace(self.circuit, readout="probs"), x, theta, strengths)
        return sample(p, draw.expand(p.shape[:-2]), self.number, FORWARD)

    def gradient(
        self, weights: Tensor, theta: Tensor, x: Tensor, strengths: Tensor, draw: Tensor
    ) -> Tensor:
        """Return the gradient of Σ weights·frequencies with respect to θ, in θ's shape."""
        plan, lead = shift(replace(self.circuit, readout="probs")), weights.shape[:-2]
        offsets, shares = (torch.from_numpy(a).to(theta) for a in (plan.offsets, plan.shares))
        rows = len(offsets)
        turned = offsets.view(rows, *[1] * len(lead), -1).expand(rows, *lead, -1)
        thetas = torch.cat([theta.expand(rows, *lead, -1), turned], -1)
        p = self.engine(plan.circuit, x, thetas, strengths).movedim(0, -2)
        # all circuits of a sample, then those of the next: what follows changes no draw
        p = sample(p, draw.expand(lead), self.number, SHIFTED)
        return ((p * weights.unsqueeze(-2)).sum((-1, -3)) @ shares).sum_to_size(theta.shape)


class _Sampled(torch.autograd.Function):
    """Frequencies, and their gradient; replicas side by side under vmap."""

    @staticmethod
    def forward(theta: Tensor, x: Tensor, strengths: Tensor, draw: Tensor, shots: Shots) -> Tensor:
        return shots.frequencies(theta, x, strengths, draw)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        *tensors, ctx.shots = inputs
        ctx.save_for_backward(*tensors)

    @staticmethod
    def backward(ctx: Any, weights: Tensor) -> tuple[Tensor | None, ...]:
        gradient = None
        if ctx.needs_input_grad[0]:
            gradient = ctx.shots.gradient(weights, *ctx.saved_tensors)
        return gradient, None, None, None, None

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], *inputs: Any) -> tuple[Tensor, int]:
        *tensors, shots = inputs
        whole = [
            t.expand(info.batch_size, *t.shape) if dim is None else t.movedim(dim, 0)
            for t, dim in zip(tensors, in_dims, strict=False)
        ]
        found: Tensor = _Sampled.apply(*whole, shots)  # type: ignore[no-untyped-call]
        return found, 0


def sample(p: Tensor, draw: Tensor, shots: int, stream: int) -> Tensor:
    """Return frequencies of outcomes; not-a-number where probabilities are.

    Args:
        p: Probabilities, ``(*lead, ..., O)``.
        draw: Key of each replica, ``lead``.
        shots: Number of draws for each distribution; 0 returns the probabilities.
        stream: Which draws of the key.

    Raises:
        ValueError: A key is negative: none has been given.
    """
    if not shots:
        return p
    keys = draw.flatten().tolist()
    if min(keys, default=0) < 0:
        raise ValueError("no key for the draws: pass `draw`, from draw_keys")
    sound = p.isfinite().all(-1, keepdim=True)
    exact = torch.where(sound, p, 1.0).double().clamp(min=0).cpu().numpy()
    exact = (exact / exact.sum(-1, keepdims=True)).reshape(len(keys), -1, p.shape[-1])
    counts = [
        np.random.Generator(np.random.Philox(key=(stream << 64) + key)).multinomial(shots, rows)
        for key, rows in zip(keys, exact, strict=True)
    ]
    frequencies = torch.from_numpy(np.array(counts, float).reshape(p.shape) / shots).to(p)
    return torch.where(sound, frequencies, p)
