"""The state of any list of gates, gate by gate: general, and what faster forms are tested against.

The state vector is a tensor of 2 entries per qubit, a density matrix in the Pauli basis one of 4;
applying matrices to some of the wires is the same for both.
"""

from functools import cache, reduce

import torch
from torch import Tensor

from qmoe_fed.circuits.chains import Chains
from qmoe_fed.circuits.circuit import Circuit
from qmoe_fed.circuits.operations import Gate, fixed_matrix
from qmoe_fed.circuits.schedule import AXES, is_real, primitives
from qmoe_fed.circuits.tables import Constant, Linear

Applied = tuple[tuple[int, ...], Tensor]
"""Wires and the matrices ``(..., S, b^w, b^w)`` that multiply their coefficients from the left;
S is the number of samples, or 1 if all share one matrix; b the number of entries per qubit."""


def amplitudes(circuit: Circuit, x: Tensor, theta: Tensor) -> Tensor:
    """Return the state, shape ``(..., B or 1, 2^n)``: B if x is in it; qubit 0 is the leading bit.

    Args:
        circuit: Any without channels.
        x: Features in radians, shape ``(..., B, circuit.features)``.
        theta: Shape ``(..., P)``.
    """
    plan = _plan(circuit)
    dtype = x.dtype if plan.real else x.dtype.to_complex()
    lead = theta.shape[:-1] if theta.dim() > 1 else ()
    state = torch.zeros(2**circuit.qubits, dtype=dtype, device=x.device)
    one = torch.nn.functional.one_hot(
        torch.zeros((), dtype=torch.int64, device=x.device), len(state)
    )
    state = (state + one).expand(*lead, 1, 1, -1)
    turns = None if plan.turns is None else plan.turns.matrices(x, theta)
    gates: list[Applied] = []
    for gate, source in plan.gates:
        if isinstance(source, int):
            assert turns is not None
            matrix = turns[..., source, :, :]
        elif isinstance(source, Linear):
            values = source(x, theta)
            matrix = torch.nn.functional.normalize(values, dim=-1).unsqueeze(-1)
            matrix = torch.cat(
                [matrix, matrix.new_zeros(()).expand(*matrix.shape[:-1], matrix.shape[-2] - 1)], -1
            )
        else:
            matrix = source(x).unsqueeze(0)
        gates.append((gate.wires, matrix.to(dtype)))
    return evolve(state, gates, 2).squeeze(-2)


class _Plan:
    def __init__(self, circuit: Circuit) -> None:
        self.real = is_real(circuit)
        gates = [o for o in primitives(circuit) if isinstance(o, Gate)]
        turns = [gate for gate in gates if gate.name in AXES]
        self.turns = Chains(circuit, [[gate] for gate in turns]) if turns else None
        numbers = iter(range(len(turns)))
        self.gates: list[tuple[Gate, int | Linear | Constant]] = []
        for gate in gates:
            if gate.name in AXES:
                self.gates.append((gate, next(numbers)))
            elif gate.angles:
                linear = Linear(gate.angles, circuit.features, circuit.parameters)
                self.gates.append((gate, linear))
            else:
                matrix = fixed_matrix(gate)
                self.gates.append((gate, Constant(matrix.real if self.real else matrix)))


@cache
def _plan(circuit: Circuit) -> _Plan:
    return _Plan(circuit)


def fuse(gates: list[Applied], most: int, base: int) -> list[Applied]:
    """Multiply gates out into fewer gates on at most ``most`` wires that do the same."""
    blocks: list[tuple[set[int], list[Applied]]] = []
    for gate in gates:
        wires = set(gate[0])
        # The gate commutes with all blocks after the last one that shares a wire with it.
        last = max((i for i, (taken, _) in enumerate(blocks) if taken & wires), default=0)
        for taken, members in blocks[last:]:
            if len(taken | wires) <= most:
                taken |= wires
                members.append(gate)
                break
        else:
            blocks.append((wires, [gate]))
    return [multiply_out(tuple(sorted(taken)), members, base) for taken, members in blocks]


def multiply_out(wires: tuple[int, ...], gates: list[Applied], base: int) -> Applied:
    """Return one gate on ``wires`` that does what gates in order do."""
    matrix = gates[0][1]
    basis = torch.eye(base ** len(wires), dtype=matrix.dtype, device=matrix.device)
    local = [(tuple(map(wires.index, gate)), matrix) for gate, matrix in gates]
    return wires, evolve(basis, local, base).mT


def evolve(states: Tensor, gates: list[Applied], base: int) -> Tensor:
    """Apply gates in order.

    Args:
        states: Coefficients, shape ``(..., S, R, base^n)``: R states for each of the gates' S.
        gates: The gates; their leading dimensions broadcast against those of ``states``.
        base: Entries per qubit.

    Returns:
        Shape ``(..., S, R, base^n)``.
    """
    n = (states.shape[-1].bit_length() - 1) // (base.bit_length() - 1)
    order = list(range(n))
    for wires, matrix in gates:
        # The wires move to the end and stay there until others take their place.
        wanted = [j for j in order if j not in wires] + list(wires)
        rows = reorder(states, order, wanted, base).unflatten(-1, (-1, matrix.shape[-1]))
        product = rows.flatten(-3, -2) @ matrix.mT
        states, order = product.unflatten(-2, rows.shape[-3:-1]).flatten(-2), wanted
    return reorder(states, order, list(range(n)), base)


def reorder(states: Tensor, order: list[int], wanted: list[int], base: int) -> Tensor:
    """Permute the qubits of states ``(..., base^n)``."""
    if order == wanted:
        return states
    n = len(order)
    axes = states.unflatten(-1, (base,) * n)
    return axes.movedim([order.index(j) - n for j in wanted], list(range(-n, 0))).flatten(-n)


def product_state(factors: Tensor) -> Tensor:
    """Return the coefficients of a product state: ``(..., n, k)`` → ``(..., k^n)``."""
    return reduce(
        lambda left, right: (left[..., :, None] * right[..., None, :]).flatten(-2),
        factors.unbind(-2),
    )
