"""Inputs and parameters of circuits that are measured a finite number of times."""

import torch

from qmoe_fed.circuits.ansatz import layered

ANSATZ = layered(2, 2, 2, entangler="strongly-entangling")


def inputs(circuit, lead=(), batch=3, seed=0):
    generator = torch.Generator().manual_seed(seed)

    def rand(*shape):
        return torch.rand(shape, generator=generator, dtype=torch.float64)

    theta = 6 * rand(*lead, circuit.parameters)
    return 3 * rand(*lead, batch, circuit.features), theta, rand(*lead, circuit.strengths) / 2
