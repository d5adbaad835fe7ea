"""Expectations under noise in the Pauli basis, block by block, for any number of qubits.

Either the observables travel backwards through the circuit (Heisenberg's picture), and the cost
does not depend on the number of samples, or the states travel forwards (Schrödinger's). What is
fewer travels; with re-uploading the circuit differs from sample to sample, and states must.
Everything broadcasts over leading dimensions, and ``torch.func.vmap`` works over it.
"""

from functools import cache, reduce

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import one_hot

from qmoe_fed.circuits.blocks import Matrices
from qmoe_fed.circuits.general import Prepared, after_embedding, applications, evolve, reorder
from qmoe_fed.circuits.operations import Angle, Gate, Operation
from qmoe_fed.circuits.schedule import Part, gather, of_x
from qmoe_fed.circuits.tables import Constant, Linear
from qmoe_fed.circuits.transfer import PAULI

MOST_WIRES, MOST_TURNS = 3, 3
"""Of a block: its matrix has 4^(2·3) entries, its table 3^3 rows."""


def expectations(part: Part, x: Tensor, theta: Tensor, strengths: Tensor) -> Tensor:
    """Return the expectations of a part's observables, shape ``(..., B or 1, observables)``.

    Args:
        part: What is simulated of a circuit.
        x: Features, shape ``(..., B, circuit.features)``.
        theta: Parameters, shape ``(..., P)``.
        strengths: Of the slots, shape ``(..., S)``.
    """
    plan, strings = _plan(part), len(part.strings)
    blocks = applications(plan.blocks, plan.matrices(x, theta, strengths))
    if any(plan.matrices.of_x) or strings > x.shape[-2]:
        return evolve(plan.start(x, theta), blocks, 4)[..., plan.strings(x)]
    backwards = [(wires, matrix.mT, own) for wires, matrix, own in reversed(blocks)]
    observables = evolve(one_hot(plan.strings(x), 4 ** len(part.qubits)).to(x), backwards, 4)
    if plan.prepared.embeddings:
        return plan.start(x, theta) @ observables.mT
    return _product(plan.heads(x, theta)) @ observables[..., plan.numbers(x)].mT


class _Plan:
    """What is known of a part before its angles and strengths."""

    def __init__(self, part: Part) -> None:
        n = len(part.qubits)
        self.prepared = Prepared(part)
        heads = {} if self.prepared.embeddings else _heads(part.operations)
        first = set(map(id, heads.values()))  # others may be equal
        rest = [o for o in after_embedding(part.operations) if id(o) not in first]
        self.blocks = gather(rest, MOST_WIRES, MOST_TURNS)
        self.matrices = Matrices(part.circuit, self.blocks, "pauli")
        self.strings = Constant(np.array(part.strings, np.int64))
        # State 0 turned about y has coefficients of 1, X and Z: 1, a sine and a cosine. Turned
        # about x it has -Y instead of X.
        about_x = [j in heads and heads[j].name == "RX" for j in range(n)]
        angles = [heads[j].angles[0] if j in heads else Angle() for j in range(n)]
        turned = [-a if flip else a for a, flip in zip(angles, about_x, strict=True)]
        self.angles = Linear(turned, part.circuit)
        digits = [np.array([0, 2 if flip else 1, 3]) for flip in about_x]
        numbers = np.zeros(1, np.int64)
        for own in digits:
            numbers = (4 * numbers[:, None] + own).ravel()
        self.numbers = Constant(numbers)
        self.spread = Constant(np.eye(4)[np.array(digits)])

    def heads(self, x: Tensor, theta: Tensor) -> Tensor:
        """Return the coefficients of every qubit that may not be zero, ``(..., B or 1, n, 3)``."""
        angles = self.angles(x, theta)
        angles = angles if self.angles.of_x else angles.unsqueeze(-2)
        return torch.stack([torch.ones_like(angles), angles.sin(), angles.cos()], -1)

    def start(self, x: Tensor, theta: Tensor) -> Tensor:
        """Return all coefficients at the start, ``(..., B or 1, 4^n)``."""
        if not self.prepared.embeddings:
            factors = self.heads(x, theta).unsqueeze(-2) @ self.spread(x)
            return _product(factors.squeeze(-2))
        psi, n = self.prepared(x, theta), self.prepared.qubits
        pairs = (psi.unsqueeze(-1) * psi.unsqueeze(-2)).flatten(-2)
        pairs = reorder(pairs, list(range(2 * n)), [k for j in range(n) for k in (j, j + n)], 2).to(
            psi.dtype.to_complex()
        )
        return evolve(pairs, [((j,), _TRACES(pairs), False) for j in range(n)], 4).real


_plan = cache(_Plan)

_TRACES = Constant(np.stack([pauli.T.ravel() for pauli in PAULI.values()]))


def _heads(operations: tuple[Operation, ...]) -> dict[int, Gate]:
    """Return the first operation on each wire, if it turns by features about x or y."""
    firsts: dict[int, Operation] = {}
    for operation in operations:
        for wire in operation.wires:
            firsts.setdefault(wire, operation)
    return {
        wire: operation
        for wire, operation in firsts.items()
        if isinstance(operation, Gate) and of_x(operation) and operation.name in ("RX", "RY")
    }


def _product(factors: Tensor) -> Tensor:
    """Return the coefficients of a product state: ``(..., n, k)`` → ``(..., k^n)``."""
    return reduce(
        lambda left, right: (left[..., :, None] * right[..., None, :]).flatten(-2),
        factors.unbind(-2),
    )
