"""The state of layers of one-qubit maps as a few batched tensor products.

A layer of one map per qubit is a Kronecker product. The qubits are split into groups of at most
``GROUP``; the maps of a group are multiplied out, for all layers and samples at once, and a layer
is then one matrix product per group on the state reshaped to (…, 2^g₁, 2^g₂, …). Entanglers are a
vector of signs (CZ) or a permutation of the basis (CNOT, SWAP). Amplitudes are real where the
circuit allows. Everything broadcasts over leading dimensions, so a cohort of clients with
parameters of their own is one call, and ``torch.func.vmap`` works over it.
"""

from collections.abc import Iterable, Sequence
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qmoe_fed.circuits.chains import Chains
from qmoe_fed.circuits.circuit import Circuit
from qmoe_fed.circuits.operations import Operation
from qmoe_fed.circuits.schedule import in_chains, is_real, layers, primitives
from qmoe_fed.circuits.tables import Constant

GROUP = 4
"""Most qubits whose maps are multiplied out into one matrix."""


@cache
def fits(circuit: Circuit) -> bool:
    """Return whether a circuit is made of gates on one qubit, CZ, CNOT and SWAP."""
    return all(
        o.name in ("CZ", "CNOT", "SWAP") or (len(o.wires) == 1 and o.name != "amplitude-embedding")
        for o in primitives(circuit)
    )


def amplitudes(circuit: Circuit, x: Tensor, theta: Tensor) -> Tensor:
    """Return the state, shape ``(..., B or 1, 2^n)``: B if x is in it; qubit 0 is the leading bit.

    CZ just before the readout are left out: they change signs only.

    Args:
        circuit: One that ``fits``.
        x: Features in radians, shape ``(..., B, circuit.features)``.
        theta: Shape ``(..., P)``.
    """
    plan = _plan(circuit)
    n = circuit.qubits
    psi = _product_state(plan.first.vectors(x, theta)).to(plan.dtype(x))
    if plan.maps is None:
        return plan.entanglers[0](psi, -1)
    maps = plan.maps.matrices(x, theta).to(psi.dtype)  # real maps may follow a complex embedding
    maps = maps.unflatten(-3, (-1, n)).movedim(-4, -5)  # (..., layers, B or 1, n, 2, 2)
    groups = maps.tensor_split(-(-n // GROUP), dim=-3)
    blocks = [_kronecker(group) for group in groups]  # (..., layers, B or 1, 2^g, 2^g)
    if plan.maps.of_x:
        of_layers = zip(*(block.unbind(-4) for block in blocks), strict=True)
        return _evolve(plan.entanglers, psi.unsqueeze(-2), of_layers).squeeze(-2)
    of_layers = zip(*(block.squeeze(-3).unbind(-3) for block in blocks), strict=True)
    if 2**n < psi.shape[-2]:
        # What follows the embedding is the same for every sample: multiply it out once.
        basis = torch.eye(2**n, dtype=psi.dtype, device=psi.device)
        return psi @ _evolve(plan.entanglers, basis, of_layers)
    return _evolve(plan.entanglers, psi, of_layers)


class _Plan:
    """What is known of a circuit before its angles."""

    def __init__(self, circuit: Circuit) -> None:
        self.real = is_real(circuit)
        first, *others = whole = layers(primitives(circuit), circuit.qubits, in_chains)
        self.first = Chains(circuit, first.chains)
        chains = [chain for layer in others for chain in layer.chains]
        self.maps = Chains(circuit, chains) if chains else None
        self.entanglers = [Entangler(circuit.qubits, layer.rest) for layer in whole]
        if self.entanglers[-1].order is None:
            self.entanglers[-1].signs = None

    def dtype(self, x: Tensor) -> torch.dtype:
        return x.dtype if self.real else x.dtype.to_complex()


@cache
def _plan(circuit: Circuit) -> _Plan:
    return _Plan(circuit)


class Entangler:
    """CZ, CNOT and SWAP in order: psi[i] becomes signs[i]·psi[order[i]]."""

    def __init__(self, qubits: int, gates: Sequence[Operation]) -> None:
        order, signs = permutation(qubits, gates)
        self.order = Constant(order) if (order != np.arange(2**qubits)).any() else None
        self.signs = Constant(signs) if (signs < 0).any() else None

    def __call__(self, psi: Tensor, axis: int) -> Tensor:
        """Apply to the axis -1 or -2 of psi."""
        if self.order is not None:
            psi = psi.index_select(axis, self.order(psi))
        if self.signs is not None:
            signs = self.signs(psi)
            psi = psi * (signs if axis == -1 else signs.unsqueeze(-1))
        return psi


def permutation(
    qubits: int, gates: Iterable[Operation]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return order and signs of CZ, CNOT and SWAP in order, shape ``(2^n,)`` each."""
    basis = np.arange(2**qubits)
    order, signs = basis, np.ones(2**qubits)
    for gate in gates:
        a, b = (qubits - 1 - j for j in gate.wires)
        first, second = basis >> a & 1, basis >> b & 1
        if gate.name == "CZ":
            signs = signs * (1 - 2 * (first & second))
            continue
        different = (first ^ second) * (1 << a | 1 << b)
        source = basis ^ (first << b if gate.name == "CNOT" else different)
        order, signs = order[source], signs[source]
    return order, signs


def _evolve(
    entanglers: list[Entangler], psi: Tensor, layers: Iterable[tuple[Tensor, ...]]
) -> Tensor:
    """Apply everything after the first layer's maps to psi ``(..., A, 2^n)``.

    A states share their maps: ``layers`` yields the matrices of the groups, ``(..., 2^g, 2^g)``.
    """
    turned = False  # (..., 2^n, A) instead of (..., A, 2^n)
    for entangler, blocks in zip(entanglers, layers, strict=False):
        psi = entangler(psi, axis=-2 if turned else -1)
        psi = _turn(psi, blocks, back=turned)
        turned = not turned
    psi = entanglers[-1](psi, axis=-2 if turned else -1)
    return psi.mT if turned else psi


def _turn(psi: Tensor, blocks: tuple[Tensor, ...], back: bool) -> Tensor:
    """Multiply the axis of each group by its block: ``(..., A, 2^n)`` → ``(..., 2^n, A)``.

    Or the other way round, ``back``. Each product takes the axis from one end of the memory and
    leaves it at the other. So the axis of the next group comes to lie at that end, and every
    product is a single large one.
    """
    rows, columns = psi.shape[-2:]
    psi = psi.flatten(-2)
    for block in blocks if back else reversed(blocks):
        size = block.shape[-1]
        if back:
            psi = (psi.unflatten(-1, (size, -1)).mT @ block.mT).flatten(-2)
        else:
            psi = (block @ psi.unflatten(-1, (-1, size)).mT).flatten(-2)
    return psi.unflatten(-1, (columns, rows))


def _kronecker(maps: Tensor) -> Tensor:
    """Return the Kronecker product over axis -3: ``(..., g, r, c)`` → ``(..., r^g, c^g)``."""
    *rest, right = maps.unbind(-3)
    for factor in reversed(rest):  # from the right: the long axes stay innermost
        outer = factor[..., :, None, :, None] * right[..., None, :, None, :]
        right = outer.flatten(-4, -3).flatten(-2)
    return right


def _product_state(factors: Tensor) -> Tensor:
    """Return the Kronecker product of vectors: ``(..., n, 2)`` → ``(..., 2^n)``."""
    n, columns = factors.shape[-2], factors.unsqueeze(-1)
    if n <= 2 * GROUP:
        return _kronecker(columns)[..., 0]
    # the gradient of one outer product of halves needs no more large arrays
    left, right = columns.tensor_split(2, dim=-3)
    return (_kronecker(left) @ _kronecker(right).mT).flatten(-2)


def bits(qubits: int) -> NDArray[np.int64]:
    """Return the bits of every basis state, shape ``(2^n, n)``."""
    return np.arange(2**qubits)[:, None] >> np.arange(qubits)[::-1] & 1
