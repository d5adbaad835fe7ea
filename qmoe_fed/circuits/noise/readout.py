"""Bit flips at the end of a circuit: they shrink each measured ⟨Z…⟩ by a factor."""

from dataclasses import replace
from functools import cache

import torch
from torch import Tensor

from qmoe_fed.circuits.circuit import Circuit
from qmoe_fed.circuits.operations import Channel, Operation, Slot

Flips = tuple[tuple[float | Slot, ...], ...]
"""The strengths of the bit flips on each measured wire."""


@cache
def split(circuit: Circuit) -> tuple[Circuit, Flips]:
    """Return the circuit without the bit flips at its end, and their strengths.

    Strengths keep their slots, so the circuit that is returned may have gaps among them.
    """
    kept: list[Operation] = []
    busy: set[int] = set()
    flips: list[list[float | Slot]] = [[] for _ in range(circuit.measured)]
    for operation in reversed(circuit.operations):
        wire = operation.wires[0]
        free = isinstance(operation, Channel) and wire not in busy
        if free and wire >= circuit.measured:
            continue  # what happens last to a qubit that is not measured changes nothing
        if free and operation.name == "bit-flip":
            assert isinstance(operation, Channel)
            flips[wire].append(operation.strength)
            continue
        kept.append(operation)
        busy |= set(operation.wires)
    return replace(circuit, operations=tuple(reversed(kept))), tuple(map(tuple, flips))


def shrinkage(flips: Flips, like: Tensor, strengths: Tensor) -> Tensor | None:
    """Return the factor of each measured ⟨Z⟩, ``(..., 1, measured)``; None if all are 1.

    Args:
        flips: As ``split`` returns them.
        like: A tensor whose dtype and device the result has.
        strengths: Of the slots, ``(..., S)``.
    """
    if not any(flips):
        return None
    strengths = strengths.to(like)
    one = torch.ones((), dtype=like.dtype, device=like.device)
    factors = []
    for of_wire in flips:
        factor = one
        for p in of_wire:
            factor = factor * (1 - 2 * (strengths[..., p.number] if isinstance(p, Slot) else p))
        factors.append(factor)
    return torch.stack(torch.broadcast_tensors(*factors), -1).unsqueeze(-2)


def of_products(shrink: Tensor) -> Tensor:
    """Return the factors of all products of Z but the empty one: ``(..., m)`` → ``(..., 2^m - 1)``."""
    products = shrink.new_ones(1)
    for factor in shrink.unsqueeze(-1).unbind(-2):
        products = torch.stack(torch.broadcast_tensors(products, products * factor), -1).flatten(-2)
    return products[..., 1:]


def apply(circuit: Circuit, outcomes: Tensor, shrink: Tensor | None) -> Tensor:
    """Return what is read with errors, given what is read without, ``(..., B, outputs)``."""
    if shrink is None:
        return outcomes
    if circuit.readout == "expval":
        return outcomes * shrink
    for wire, factor in enumerate(shrink.unbind(-1)):
        bits = outcomes.unflatten(-1, (2**wire, 2, -1))
        mixed, factor = bits + bits.flip(-2), factor[..., None, None, None]
        outcomes = (mixed / 2 + (bits - mixed / 2) * factor).flatten(-3)
    return outcomes
