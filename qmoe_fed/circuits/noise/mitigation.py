"""Error mitigation as a wrapper around any engine: less of the noise, for more runs of circuits.

Zero-noise extrapolation (Temme, Bravyi & Gambetta, "Error mitigation for short-depth quantum
circuits", 2017) runs a circuit with its noise made stronger, by folding, and extrapolates to none
(Giurgica-Tiron et al., "Digital zero noise extrapolation for quantum error mitigation", 2020).
Readout errors are a known matrix on what is read, which is inverted.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import cache

import numpy as np
import torch
from torch import Tensor

from qmoe_fed.circuits import Engine
from qmoe_fed.circuits.circuit import Circuit
from qmoe_fed.circuits.compose import inverse
from qmoe_fed.circuits.noise import readout
from qmoe_fed.circuits.operations import Channel, Operation, Slot
from qmoe_fed.errors import UserError, unknown

FOLDINGS = ("global", "gate")
EXTRAPOLATIONS = ("linear", "richardson", "exponential")

_TINY = 1e-9  # a distance from the asymptote that says nothing


@cache
def fold(circuit: Circuit, scale: float, folding: str = "global") -> Circuit:
    """Return a circuit that does the same with ``scale`` times as many gates and their noise.

    A gate G becomes G G⁻¹ G, the channels that follow G come with each of the three. The
    amplitudes and channels that a circuit begins with are not folded, nor bit flips that end it,
    which are readout errors.

    Args:
        circuit: The circuit, with its noise.
        scale: At least 1. One that is no odd number folds part of the gates once more, rounded.
        folding: ``global``: the whole circuit runs forwards, backwards, forwards …, and a part at
            its end once more. ``gate``: each gate does, and a part at the start once more.

    Raises:
        UserError: There is no such folding, or the scale is below 1.
    """
    if folding not in FOLDINGS:
        raise unknown("folding", folding, FOLDINGS)
    if not scale >= 1:
        raise UserError(f"noise scale = {scale}: must be at least 1, the noise that is there")
    operations, flips = list(circuit.operations), list[Operation]()
    while operations and isinstance(operations[-1], Channel) and operations[-1].name == "bit-flip":
        flips.insert(0, operations.pop())
    head, groups = list[Operation](), list[list[Operation]]()
    for operation in operations:
        if isinstance(operation, Channel):
            (groups[-1] if groups else head).append(operation)
        elif operation.name == "amplitude-embedding":
            head.append(operation)
        else:
            groups.append([operation])
    back = [[inverse(own), *noise] for own, *noise in groups]
    whole, rest = divmod(scale - 1, 2)
    part = round(rest * len(groups) / 2)
    if folding == "global":
        last = len(groups) - part
        again = [*reversed(back[last:]), *groups[last:]]
        folded = groups + int(whole) * [*reversed(back), *groups] + again
    else:
        folded = []
        for i, (own, undone) in enumerate(zip(groups, back, strict=True)):
            folded += [own, *(int(whole) + (i < part)) * [undone, own]]
    every = (*head, *(operation for group in folded for operation in group), *flips)
    return replace(circuit, operations=every)


def extrapolate(values: Tensor, scales: Sequence[float], method: str, asymptote: float) -> Tensor:
    """Return what values would be at scale 0.

    Args:
        values: At each scale, ``(k, ...)``.
        scales: Different ones, k ≥ 2.
        method: ``linear``: the line of least squares; ``richardson``: the polynomial through all;
            ``exponential``: a decay to the asymptote, or the line where values lie on both sides.
        asymptote: What strong noise leaves; exponential only.

    Raises:
        UserError: There is no such method, or not two different scales for it.
    """
    if method not in EXTRAPOLATIONS:
        raise unknown("extrapolation", method, EXTRAPOLATIONS)
    if len(set(scales)) != len(scales) or len(scales) < 2:
        raise UserError(f"noise scales {tuple(scales)}: expected two or more different ones")
    degree = len(scales) - 1 if method == "richardson" else 1
    powers = np.vander(scales, degree + 1, increasing=True)
    weights = torch.from_numpy(np.linalg.pinv(powers)[0]).to(values)
    line = torch.tensordot(weights, values, 1)
    if method != "exponential":
        return line
    distance = values - asymptote
    decays = (distance * distance[0].sign() > _TINY).all(0)
    logarithm = torch.tensordot(weights, distance.abs().clamp(min=_TINY).log(), 1)
    return torch.where(decays, asymptote + distance[0].sign() * logarithm.exp(), line)


def lawful(values: Tensor, kind: str) -> Tensor:
    """Return the nearest probabilities, or expectations, to values ``(..., outputs)``."""
    if kind == "expval":
        return values.clamp(-1, 1)
    ordered = values.sort(-1, descending=True).values
    excess = (ordered.cumsum(-1) - 1) / torch.arange(1, values.shape[-1] + 1).to(values)
    kept = (ordered > excess).sum(-1, keepdim=True)  # Duchi et al., 2008
    return (values - excess.gather(-1, kept - 1)).clamp(min=0)


def extrapolated(
    engine: Engine,
    method: str = "richardson",
    scales: Sequence[float] = (1, 3, 5),
    folding: str = "global",
) -> Engine:
    """Return an engine that extrapolates to zero noise what another one returns.

    The other runs one circuit for each scale, exactly or with shots, on a simulator or a device.
    Strong noise is taken to leave all outcomes alike, as depolarizing does. Arguments and errors
    as ``fold`` and ``extrapolate``.
    """

    def run(circuit: Circuit, x: Tensor, theta: Tensor, strengths: Tensor | None = None) -> Tensor:
        folded = [fold(circuit, scale, folding) for scale in scales]
        values = torch.stack([engine(each, x, theta, strengths) for each in folded])
        asymptote = 1 / circuit.outputs if circuit.readout == "probs" else 0.0
        return lawful(extrapolate(values, scales, method, asymptote), circuit.readout)

    return run


def without_readout_errors(engine: Engine) -> Engine:
    """Return an engine that inverts the bit flips at the end of circuits, whose strengths it knows.

    Raises:
        UserError: When it runs: a bit is flipped with probability 1/2, which leaves nothing.
    """

    def run(circuit: Circuit, x: Tensor, theta: Tensor, strengths: Tensor | None = None) -> Tensor:
        _, flips = readout.split(circuit)
        if any(p == 0.5 for own in flips for p in own):
            raise UserError("readout error = 0.5: nothing is left to invert, expected another")
        undone = tuple(
            tuple(p if isinstance(p, Slot) else p / (2 * p - 1) for p in own) for own in flips
        )
        given = x.new_zeros(0) if strengths is None else strengths / (2 * strengths - 1)
        values = engine(circuit, x, theta, strengths)
        return lawful(readout.apply(circuit, undone, values, given), circuit.readout)

    return run
