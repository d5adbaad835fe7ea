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


def apply(circuit: Circuit, flips: Flips, outcomes: Tensor, strengths: Tensor) -> Tensor:
    """Return what is read with errors, given what is read without, ``(..., B, outputs)``."""
    if not any(flips):
        return outcomes
    columns = list(outcomes.unbind(-1)) if circuit.readout == "expval" else []
    for wire, of_wire in enumerate(flips):
        factor: Tensor | float = 1.0
        for p in of_wire:
            at = strengths[..., p.number, None].to(outcomes) if isinstance(p, Slot) else p
            factor = factor * (1 - 2 * at)
        if columns:
            columns[wire] = columns[wire] * factor
        elif of_wire:
            bits = outcomes.unflatten(-1, (2**wire, 2, -1))
            even = (bits + bits.flip(-2)) / 2
            shrink = factor if isinstance(factor, float) else factor[..., None, None, None]
            outcomes = (even + (bits - even) * shrink).flatten(-3)
    return torch.stack(columns, -1) if columns else outcomes
