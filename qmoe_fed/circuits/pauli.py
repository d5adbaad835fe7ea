"""Exact simulation of a noisy circuit in the Pauli basis.

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
from qmoe_fed.circuits.transfer import Gate, controlled, evolve, fuse, light_cone, rotation
from qmoe_fed.errors import UserError


def run(circuit: Circuit, x: Tensor, theta: Tensor, noise: Noise) -> Tensor:
    """Return what the circuit reads out under noise.

    Time and memory grow as 4^(qubits in the light cone of the measured ones).

    Args:
        circuit: The circuit.
        x: Features in radians, shape ``(..., B, d)`` with ``1 <= d <= n``.
        theta: Parameters in radians, shape ``(..., *circuit.parameter_shape)``. Leading
            dimensions broadcast against those of ``x`` before ``B``.
        noise: The noise; dimensions of its strength and readout error broadcast against the
            leading dimensions of ``x`` and ``theta``.

    Returns:
        Shape ``(..., B, circuit.outputs)``: probabilities that sum to 1, or expectations in
        [-1, 1].

    Raises:
        UserError: There are more features than qubits, or none.
    """
    n, features = circuit.qubits, x.shape[-1]
    if not 1 <= features <= n:
        raise UserError(f"{features} features do not fit {n} qubits: 1 to {n} can be embedded")
    x = x[..., [j % features for j in range(n)]]
    gates, cone = light_cone(_gates(circuit, x, theta, noise), circuit.measured)
    # Larger blocks pass over the states less often and save memory. Multiplied out for every
    # sample, they pay only beside large states.
    blocks = fuse(gates, 2 if circuit.reuploading and len(cone) <= 6 else 3)
    embedded = rotation(circuit.embedding[1], x[..., cone])[..., [0, 3]].sum(-1)  # (..., B, w, 4)
    masks = _observables(circuit)
    strings = _numbers([(0, 3)] * circuit.measured + [(0,)] * (len(cone) - circuit.measured))
    strings = strings[masks].to(x.device)

    if circuit.reuploading or len(masks) > x.shape[-2]:
        axis = -2 if circuit.reuploading else -3
        states = evolve(_product(embedded).unsqueeze(axis), blocks).squeeze(axis)
        values = states[..., strings]
    else:
        backwards = [(wires, matrix.mT) for wires, matrix in reversed(blocks)]
        observables = evolve(one_hot(strings, 4 ** len(cone)).to(x), backwards).squeeze(-3)
        # An embedded qubit has three coefficients that are not zero: 1, a sine and a cosine.
        kept = [0, 1, 3] if circuit.embedding == "ry" else [0, 2, 3]
        observables = observables[..., _numbers([kept] * len(cone)).to(x.device)]
        values = _product(embedded[..., kept]) @ observables.mT
    return _read(circuit, masks, values, noise)


def _gates(circuit: Circuit, x: Tensor, theta: Tensor, noise: Noise) -> list[Gate]:
    """Return all gates and channels after the gates of the first embedding, in order."""
    n = circuit.qubits
    channel = noise.matrix(x).unsqueeze(-3)  # (..., S, 4, 4) with S = 1
    after = channel
    if noise.placement == "notebook":
        after = torch.eye(4, dtype=x.dtype, device=x.device).expand_as(channel)

    theta = theta.unsqueeze(-len(circuit.parameter_shape) - 1)  # (..., S, L, n) or (…, L, n, 3)
    if circuit.entangler == "strongly-entangling":
        phi, angle, omega = theta.unbind(-1)
        maps = rotation("z", omega) @ rotation("y", angle) @ rotation("z", phi)
    else:
        maps = rotation("y", theta)
    maps = after[..., None, None, :, :] @ maps
    embedding = channel[..., None, :, :] @ rotation(circuit.embedding[1], x)  # (..., B, n, 4, 4)
    both = (after[..., :, None, :, None] * after[..., None, :, None, :]).flatten(-4, -3).flatten(-2)
    target = "z" if circuit.entangler == "cz" else "x"
    entangle = both @ torch.from_numpy(controlled(target)).to(x)

    gates: list[Gate] = [((j,), channel) for j in range(n)]
    for layer in range(circuit.layers):
        if layer > 0 and circuit.reuploading:
            gates += [((j,), embedding[..., j, :, :]) for j in range(n)]
        gates += [((j,), maps[..., layer, j, :, :]) for j in range(n)]
        if circuit.entangler == "cz":
            gates += [((j, j + 1), entangle) for j in range(n - 1)]
        elif circuit.entangler == "strongly-entangling":
            gates += [(pair, entangle) for pair in circuit.cnots(layer)]
    if noise.placement == "notebook":
        gates += [((j,), channel) for j in range(n)]
    return gates


def _observables(circuit: Circuit) -> list[int]:
    """Return the products of Z to evaluate, as bit masks over the measured qubits."""
    if circuit.readout == "expval":
        return [1 << j for j in reversed(range(circuit.measured))]
    return list(range(1, circuit.outputs))


def _read(circuit: Circuit, masks: list[int], values: Tensor, noise: Noise) -> Tensor:
    """Return the readout given the expectations ``(..., B, M)`` of the observables."""
    flip = torch.as_tensor(noise.readout_error, dtype=values.dtype, device=values.device)
    factors = torch.tensor([mask.bit_count() for mask in masks], device=values.device)
    values = values * (1 - 2 * flip[..., None, None]) ** factors
    if circuit.readout == "expval":
        return values
    outcomes = range(circuit.outputs)
    signs = [[(-1) ** (mask & outcome).bit_count() for outcome in outcomes] for mask in masks]
    hadamard = torch.tensor(signs).to(values).reshape(len(masks), circuit.outputs)
    return (1 + values @ hadamard) / circuit.outputs


def _product(factors: Tensor) -> Tensor:
    """Return the coefficients of a product state: ``(..., n, k)`` → ``(..., k^n)``."""
    return reduce(
        lambda left, right: (left[..., :, None] * right[..., None, :]).flatten(-2),
        factors.unbind(-2),
    )


def _numbers(digits: Sequence[Sequence[int]]) -> Tensor:
    """Return all numbers in base 4 whose digits are among the given ones, ascending."""
    numbers = torch.zeros(1, dtype=torch.int64)
    for choices in digits:
        numbers = (4 * numbers[:, None] + torch.tensor(choices)).flatten()
    return numbers
