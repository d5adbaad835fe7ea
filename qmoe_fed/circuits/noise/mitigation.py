"""Error mitigation as a wrapper around any engine: less of the noise, for more runs of circuits.

Zero-noise extrapolation (Temme, Bravyi & Gambetta, "Error mitigation for short-depth quantum
circuits", 2017) runs a circuit with its noise made stronger, by folding, and extrapolates to none
(Giurgica-Tiron et al., "Digital zero noise extrapolation for quantum error mitigation", 2020).
Readout errors are a known matrix on what is read, which is inverted.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from itertools import chain

import numpy as np
import torch
from torch import Tensor

from qmoe_fed.circuits import Engine
from qmoe_fed.circuits.circuit import Circuit
from qmoe_fed.circuits.compose import inverse
from qmoe_fed.circuits.noise import readout
from qmoe_fed.circuits.operations import Channel, Operation, Slot
from qmoe_fed.errors import UserError, unknown

EXTRAPOLATIONS = ("linear", "richardson", "exponential")
MITIGATIONS = ("none", "readout", *EXTRAPOLATIONS)

SCALES = (1, 3, 5)
"""Of the noise, unless others are asked for."""

_TINY = 1e-9  # a distance from the asymptote that says nothing


@cache
def fold(circuit: Circuit, scale: float) -> Circuit:
    """Return a circuit that does the same with ``scale`` times as many gates and their noise.

    It runs forwards, backwards, forwards …, and a part at its end once more if the scale, at least
    1, is no odd number. The channels that follow a gate come with it each time. The amplitudes and
    channels that a circuit begins with are not folded, nor bit flips that end it: readout errors.

    Raises:
        UserError: The scale is below 1.
    """
    if not scale >= 1:
        raise UserError(f"noise scale = {scale}: must be at least 1, the noise that is there")
    operations, flips = list(circuit.operations), list[Operation]()
    while operations and isinstance(operations[-1], Channel) and operations[-1].name == "bit-flip":
        flips.insert(0, operations.pop())
    groups: list[list[Operation]] = [[]]
    for operation in operations:
        if isinstance(operation, Channel) or operation.name == "amplitude-embedding":
            groups[-1].append(operation)
        else:
            groups.append([operation])
    head, *gates = groups
    back = [[inverse(own), *noise] for own, *noise in gates]
    times, rest = divmod(scale - 1, 2)
    last = len(gates) - round(rest * len(gates) / 2)
    again = int(times) * [*reversed(back), *gates] + [*reversed(back[last:]), *gates[last:]]
    return replace(circuit, operations=(*head, *chain(*gates, *again), *flips))


def extrapolate(values: Tensor, scales: Sequence[float], method: str, asymptote: float) -> Tensor:
    """Return what values ``(k, ...)`` at k ≥ 2 different scales would be at scale 0.

    Args:
        values: At each scale.
        scales: Of the noise.
        method: ``linear``: the line of least squares; ``richardson``: the polynomial through all;
            ``exponential``: a decay to the asymptote, or the line where values lie on both sides.
        asymptote: What strong noise leaves; exponential only.

    Raises:
        UserError: There is no such method, or too few scales.
    """
    if method not in EXTRAPOLATIONS:
        raise unknown("extrapolation", method, EXTRAPOLATIONS)
    if len(set(scales)) != len(scales) or len(scales) < 2:
        raise UserError(f"noise scales {tuple(scales)}: expected two or more different ones")
    powers = np.vander(scales, len(scales) if method == "richardson" else 2, increasing=True)
    weights = torch.from_numpy(np.linalg.pinv(powers)[0]).to(values)
    line = torch.tensordot(weights, values, 1)
    if method != "exponential":
        return line
    distance = values - asymptote
    decays = (distance * distance[0].sign() > _TINY).all(0)
    logarithm = torch.tensordot(weights, distance.abs().clamp(min=_TINY).log(), 1)
    return torch.where(decays, asymptote + distance[0].sign() * logarithm.exp(), line)


def lawful(values: Tensor, readout: str) -> Tensor:
    """Return the nearest probabilities, or expectations, to values ``(..., outputs)``."""
    if readout == "expval":
        return values.clamp(-1, 1)
    ordered = values.sort(-1, descending=True).values  # Duchi et al., 2008
    excess = (ordered.cumsum(-1) - 1) / torch.arange(1, values.shape[-1] + 1).to(values)
    kept = (ordered > excess).sum(-1, keepdim=True)
    return (values - excess.gather(-1, kept - 1)).clamp(min=0)


def extrapolated(engine: Engine, method: str, scales: Sequence[float] = SCALES) -> Engine:
    """Return an engine that extrapolates to no noise what another one returns.

    The other, exact or with shots, a simulator or a device, runs one circuit for each scale. Strong
    noise is taken to leave all outcomes alike, as depolarizing does. Errors as of ``extrapolate``.
    """

    def run(circuit: Circuit, x: Tensor, theta: Tensor, strengths: Tensor | None = None) -> Tensor:
        values = torch.stack([engine(fold(circuit, s), x, theta, strengths) for s in scales])
        asymptote = 1 / circuit.outputs if circuit.readout == "probs" else 0.0
        return lawful(extrapolate(values, scales, method, asymptote), circuit.readout)

    return run


def without_readout_errors(engine: Engine) -> Engine:
    """Return an engine that inverts the bit flips at the end of circuits, whose strengths it knows.

    It raises UserError when it runs a circuit whose bits are flipped with probability 1/2.
    """

    def run(circuit: Circuit, x: Tensor, theta: Tensor, strengths: Tensor | None = None) -> Tensor:
        flips = readout.split(circuit)[1]
        if not any(flips):
            return engine(circuit, x, theta, strengths)
        _check_flips(flips)
        undo = [[p if isinstance(p, Slot) else p / (2 * p - 1) for p in own] for own in flips]
        given = x.new_zeros(0) if strengths is None else strengths / (2 * strengths - 1)
        values = engine(circuit, x, theta, strengths)
        undone = readout.apply(circuit, tuple(map(tuple, undo)), values, given)
        return lawful(undone, circuit.readout)

    return run


def _check_flips(flips: readout.Flips) -> None:
    if any(p == 0.5 for own in flips for p in own):
        raise UserError("readout error = 0.5: nothing is left to invert, expected another")


def mitigated(engine: Engine, method: str) -> Engine:
    """Return an engine that mitigates what another one returns.

    It inverts readout errors (``readout``), extrapolates after that (the methods of
    ``extrapolate``), or does nothing (``none``).
    """
    if method == "none":
        return engine
    inverted = without_readout_errors(engine)
    return inverted if method == "readout" else extrapolated(inverted, method)


def circuits_of(circuit: Circuit, method: str, own_noise: bool = False) -> list[Circuit]:
    """Return the circuits that a mitigated engine runs in place of one.

    Args:
        circuit: With its noise.
        method: As of ``mitigated``.
        own_noise: Whether the engine may add noise that is not in the circuit, as hardware does.

    Raises:
        UserError: There is no such method, or nothing for it to mitigate.
    """
    if method not in MITIGATIONS:
        raise unknown("mitigation", method, MITIGATIONS)
    if method == "none":
        return [circuit]
    bare, flips = readout.split(circuit)
    _check_flips(flips)
    if method == "readout":
        if not any(flips):
            raise UserError("mitigation = 'readout' inverts nothing: set a readout-error")
        return [circuit]
    if not (bare.noisy or own_noise):
        raise UserError(
            f"mitigation = {method!r} extrapolates noise, and gates have none: set a noise-channel"
        )
    return [fold(circuit, scale) for scale in SCALES]
