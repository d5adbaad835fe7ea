"""Expectations under noise in the Pauli basis, gate by gate, for any number of qubits.

Either the observables travel backwards through the circuit (Heisenberg's picture), and the cost
does not depend on the number of samples, or the states travel forwards (Schrödinger's). What is
fewer travels; with re-uploading the circuit differs from sample to sample, and states must.
Everything broadcasts over leading dimensions, and ``torch.func.vmap`` works over it.
"""

from collections.abc import Sequence
from functools import reduce

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from qmoe_fed.circuits.channels import Noise
from qmoe_fed.circuits.circuit import Circuit
from qmoe_fed.circuits.program import Part
from qmoe_fed.circuits.transfer import Gate, evolve, fuse, matrices, rotation


def expectations(circuit: Circuit, part: Part, x: Tensor, theta: Tensor, noise: Noise) -> Tensor:
    """Return the expectations of a part's observables.

    Args:
        circuit: The circuit.
        part: What is simulated of it, w qubits.
        x: An angle for each qubit of the part, shape ``(..., B, w)``.
        theta: Angles of its turns in order, shape ``(..., turns, w)``.
        noise: The noise.

    Returns:
        Shape ``(..., B, len(part.strings))``.
    """
    width, strings = (
        len(part.qubits),
        torch.tensor(part.strings, dtype=torch.int64, device=x.device),
    )
    gates = _gates(circuit, part, x, theta, noise)
    # Larger blocks pass over the states less often and save memory. Multiplied out for every
    # sample, they pay only beside large states.
    blocks = fuse(gates, 2 if circuit.reuploading and width <= 6 else 3)
    embedded = rotation(circuit.embedding[1], x)[..., [0, 3]].sum(-1)  # (..., B, w, 4)
    if circuit.reuploading or len(strings) > x.shape[-2]:
        axis = -2 if circuit.reuploading else -3
        states = evolve(_product(embedded).unsqueeze(axis), blocks).squeeze(axis)
        return states[..., strings]

    backwards = [(wires, matrix.mT) for wires, matrix in reversed(blocks)]
    observables = evolve(one_hot(strings, 4**width).to(x), backwards).squeeze(-3)
    # An embedded qubit has three coefficients that are not zero: 1, a sine and a cosine.
    kept = [0, 1, 3] if circuit.embedding == "ry" else [0, 2, 3]
    return _product(embedded[..., kept]) @ observables[..., _numbers(kept, width).to(x.device)].mT


def _gates(circuit: Circuit, part: Part, x: Tensor, theta: Tensor, noise: Noise) -> list[Gate]:
    """Return all gates and channels after the gates of the first embedding, in order."""
    channel, entangler = matrices(circuit, noise, x)
    turns = iter(theta.unsqueeze(-3).unbind(-2))  # (..., S, w) with S = 1
    gates: list[Gate] = [((j,), channel) for j in part.steps[0].turned]
    turned = None  # what a qubit's turns have come to since the last gate
    for step in part.steps[1:]:
        matrix = rotation(step.axis, x if step.embedding else next(turns))
        turned = matrix if turned is None else matrix @ turned
        if step.noisy:
            turned = channel.unsqueeze(-3) @ turned
        if step.noisy or step.gates or step is part.steps[-1]:
            gates += [((j,), turned[..., j, :, :]) for j in step.turned]
            turned = None
        gates += [(wires, channel if len(wires) == 1 else entangler) for wires in step.gates]
    return gates


def _product(factors: Tensor) -> Tensor:
    """Return the coefficients of a product state: ``(..., n, k)`` → ``(..., k^n)``."""
    return reduce(
        lambda left, right: (left[..., :, None] * right[..., None, :]).flatten(-2),
        factors.unbind(-2),
    )


def _numbers(digits: Sequence[int], length: int) -> Tensor:
    """Return all numbers of a length in base 4 with these digits, ascending."""
    numbers = torch.zeros(1, dtype=torch.int64)
    for _ in range(length):
        numbers = (4 * numbers[:, None] + torch.tensor(digits)).flatten()
    return numbers
