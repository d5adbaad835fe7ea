"""Finite shots: frequencies of outcomes instead of their probabilities, as hardware returns them.

What a replica draws is a function of its key alone, not of the replicas and samples beside it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from qmoe_fed import rng
from qmoe_fed.circuits import Circuit, Engine
from qmoe_fed.errors import UserError
from qmoe_fed.models.shifts import shifts

STEP = 0.3
"""Radians that SPSA goes to either side: shots tell less apart what is closer."""


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
        spsa: Whether gradients come from two circuits, see ``_both_sides``, and not from all that
            the parameter-shift rule takes.
        at_device: Whether the engine measures by itself: it returns frequencies.
        place: Among circuits that are drawn from by the same key, each with draws of its own.

    Raises:
        UserError: The number is negative.
    """

    circuit: Circuit
    engine: Engine
    number: int
    spsa: bool = False
    at_device: bool = False
    place: int = 0

    def __post_init__(self) -> None:
        if self.number < 0:
            raise UserError(f"shots = {self.number}: must be 0, for exact probabilities, or more")

    @cached_property
    def outcomes(self) -> Circuit:
        """The circuit with the probabilities of its outcomes as readout."""
        return replace(self.circuit, readout="probs")

    def measured(self, p: Tensor, draw: Tensor, stream: int = 0) -> Tensor:
        """Return frequencies; arguments as ``sample``, p of what the engine returned."""
        return p if self.at_device else sample(p, draw, self.number, 3 * self.place + stream)

    def __call__(self, x: Tensor, theta: Tensor, strengths: Tensor | None, draw: Tensor) -> Tensor:
        """Return estimates of what the circuit reads out, ``(..., B, outputs)``.

        They can be differentiated with respect to θ, by parameter shift or SPSA, and to nothing
        else.

        Args:
            x: Features in radians, ``(..., B, d)``.
            theta: Parameters in radians, ``(..., P)``.
            strengths: Of the circuit's slots, ``(..., S)``; None if there are none.
            draw: Keys as of ``draw_keys``, one for all samples of a replica, ``(...)``.

        Raises:
            ValueError: A key is negative: none has been given.
        """
        strengths = x.new_zeros(0) if strengths is None else strengths
        found: Tensor = _Frequencies.apply(theta, x, strengths, draw, self)
        if self.circuit.readout == "probs":
            return found
        places = torch.arange(self.circuit.measured - 1, -1, -1, device=found.device)
        states = torch.arange(found.shape[-1], device=found.device)
        return found @ (1 - 2 * (states[:, None] >> places & 1)).to(found.dtype)


class _Frequencies(torch.autograd.Function):
    """Frequencies of outcomes ``(..., B, 2^measured)``; replicas side by side under vmap."""

    @staticmethod
    def forward(theta: Tensor, x: Tensor, strengths: Tensor, draw: Tensor, shots: Shots) -> Tensor:
        p = shots.engine(shots.outcomes, x, theta, strengths)
        return shots.measured(p, draw.expand(p.shape[:-2]))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        *tensors, ctx.shots = inputs
        ctx.save_for_backward(*tensors)

    @staticmethod
    def backward(ctx: Any, weights: Tensor) -> tuple[Tensor | None, ...]:
        (theta, x, strengths, draw), lead = ctx.saved_tensors, weights.shape[:-2]
        draw, number = draw.expand(lead), theta.shape[-1]
        if ctx.shots.spsa:
            circuit = ctx.shots.outcomes
            moves = both_sides(draw, number).to(theta)
            thetas, shares = theta + STEP * moves, moves / (2 * STEP)
        else:
            circuit, *tables = shifts(ctx.shots.outcomes)
            offsets, shares = (torch.from_numpy(table).to(theta) for table in tables)
            turned = offsets.view(len(offsets), *[1] * len(lead), -1).expand(-1, *lead, -1)
            thetas = torch.cat([theta.expand(*turned.shape[:-1], -1), turned], -1)
            shares = shares.view(len(shares), *[1] * len(lead), -1)
        p = ctx.shots.engine(circuit, x, thetas, strengths).movedim(0, -2)
        # all circuits of a sample, then those of the next: what follows changes no draw
        p = ctx.shots.measured(p, draw, 1)
        change = (p * weights.unsqueeze(-2)).sum((-1, -3)).movedim(-1, 0)  # (J, *lead)
        gradient = (change.unsqueeze(-1) * shares).sum(0)
        return gradient.sum_to_size(theta.shape), None, None, None, None

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], *inputs: Any) -> tuple[Tensor, int]:
        *tensors, shots = inputs
        whole = [
            t.expand(info.batch_size, *t.shape) if dim is None else t.movedim(dim, 0)
            for t, dim in zip(tensors, in_dims, strict=False)
        ]
        found: Tensor = _Frequencies.apply(*whole, shots)
        return found, 0


def both_sides(draw: Tensor, number: int) -> Tensor:
    """Return a direction of each replica and its opposite, all entries 1 or -1, ``(2, *lead, P)``.

    SPSA (Spall, 1992): a step to either side along a random direction Δ estimates the derivative
    along it, and that times Δ is the gradient on average, whatever the number P of parameters.

    Args:
        draw: Key of each replica, ``lead``.
        number: Number of parameters P.
    """
    signs = [_draws(key, 2).integers(0, 2, number) for key in draw.flatten().tolist()]
    ahead = torch.from_numpy(2 * np.array(signs) - 1).reshape(*draw.shape, number)
    return torch.stack([ahead, -ahead]).to(draw.device)


def _draws(key: int, stream: int) -> np.random.Generator:
    """Return the generator of a key's outputs (0), gradients (1) or directions (2).

    Streams of further circuits follow, three for each.
    """
    if key < 0:
        raise ValueError("no key for the draws: pass `draw`, from draw_keys")
    return np.random.Generator(np.random.Philox(key=(stream << 64) + key))


def sample(p: Tensor, draw: Tensor, shots: int, stream: int = 0) -> Tensor:
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
    sound = p.isfinite().all(-1, keepdim=True)
    exact = torch.where(sound, p, 1.0).double().clamp(min=0).cpu().numpy()
    exact = (exact / exact.sum(-1, keepdims=True)).reshape(len(keys), -1, p.shape[-1])
    counts = [
        _draws(key, stream).multinomial(shots, rows) for key, rows in zip(keys, exact, strict=True)
    ]
    frequencies = torch.from_numpy(np.array(counts, float).reshape(p.shape) / shots).to(p)
    return torch.where(sound, frequencies, p)
