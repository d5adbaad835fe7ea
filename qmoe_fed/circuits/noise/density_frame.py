"""Expectations under noise of few qubits: phases, and constant matrices between them.

In the Pauli basis, a rotation by a about an axis mixes the two other components, u and v, of a
qubit: u + iv is multiplied by exp(ia). So in the frame of an axis for each qubit, the products of 1, the axis'
own component, u + iv and u - iv, rotations of all qubits multiply each coefficient by
exp(i Σ sⱼaⱼ), sⱼ = 0, 1 or -1. Coefficients with s and -s are conjugate; half of them, and those
without phase in pairs, are 4^n/2 complex numbers z. Channels, entanglers and the change to the
frame of the next rotations' axes are one constant matrix: z ← (z·exp(iω(θ))) M. This is
``rotating_frame`` for density matrices.
"""

from dataclasses import dataclass, replace
from functools import cache, reduce
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qmoe_fed.circuits.circuit import Circuit
from qmoe_fed.circuits.general import evolve
from qmoe_fed.circuits.noise.cones import Part
from qmoe_fed.circuits.noise.transfer import constant
from qmoe_fed.circuits.operations import Angle, Gate, Operation
from qmoe_fed.circuits.rotating_frame import as_complex, as_real, phases
from qmoe_fed.circuits.schedule import AXES, Layer, Role, layers
from qmoe_fed.circuits.tables import Constant, Linear, outside

MOST_QUBITS = 4
"""Matrices have 16^n entries: beyond this, gate by gate is faster."""

MOST_QUBITS_AT_ANY_STRENGTH = 3
"""The same where strengths have slots: the matrices are then made anew each time."""


def fits(part: Part) -> bool:
    """Return whether this can be done, and is the faster way."""
    most = MOST_QUBITS_AT_ANY_STRENGTH if part.slots else MOST_QUBITS
    return len(part.qubits) <= most and not any(
        operation.name == "amplitude-embedding" for operation in part.operations
    )


def expectations(
    circuit: Circuit, part: Part, x: Tensor, theta: Tensor, strengths: Tensor
) -> Tensor:
    """Return the expectations of a part's observables; shapes as ``pauli.expectations``."""
    plan = _plan(circuit, part)
    if plan.tables is None:
        start, *maps, readout = _tables(part, plan.layers, x, strengths)
    else:
        start, *maps, readout = (table(x) for table in plan.tables)
    turns: list[Tensor | None] = [None] * len(plan.layers)
    angles = plan.turns(x, theta).unflatten(-1, (max(len(plan.turned), 1), -1))
    z = as_complex(start).unsqueeze(-2)
    if plan.embeddings[0] is not None:
        z = phases(plan.embeddings[0](x, theta)) * z
    if any(plan.embeddings[1:]) or len(part.strings) > x.shape[-2]:
        for layer, turn in zip(plan.turned, phases(angles).unbind(-2), strict=False):
            turns[layer] = turn
        for layer in range(len(plan.layers)):
            if layer:
                z = as_complex(as_real(z) @ maps[layer - 1])
            embedding = plan.embeddings[layer] if layer else None
            for factor in (turns[layer], embedding and phases(embedding(x, theta))):
                z = z if factor is None else z * factor
        return as_real(z) @ readout.mT
    for layer, turn in zip(plan.turned, phases(-angles).unbind(-2), strict=False):
        turns[layer] = turn
    observables = readout
    for layer in reversed(range(len(plan.layers))):
        turn = turns[layer]
        if turn is not None:
            observables = as_real(as_complex(observables) * turn)
        if layer:
            observables = observables @ maps[layer - 1].mT
    return as_real(z) @ observables.mT


@dataclass(frozen=True, eq=False)
class _Plan:
    layers: list[Layer]
    turns: Linear  # of the layers in ``turned``, what does not depend on x
    turned: list[int]
    embeddings: list[Linear | None]  # of every layer, what depends on x
    tables: list[Constant] | None  # None if strengths are given later


@cache
def _plan(circuit: Circuit, part: Part) -> _Plan:
    n = len(part.qubits)
    found = layers(part.operations, n, _role, longest=1)
    angles = [[_angle(chain) for chain in layer.chains] for layer in found]
    fixed = [[Angle(a.constant, parameters=a.parameters) for a in layer] for layer in angles]
    of_x = [[Angle(features=a.features) for a in layer] for layer in angles]
    turned = [i for i, layer in enumerate(fixed) if any(a != Angle() for a in layer)]

    def linear(turns: list[list[Angle]]) -> Linear:
        mix = np.kron(np.eye(len(turns)), _frequencies(n))
        flat = [angle for layer in turns for angle in layer]
        return Linear(flat, circuit.features, circuit.parameters, mix)

    tables = None
    if not part.slots:
        like = torch.empty((), dtype=torch.float64)
        tables = outside(lambda: _tables(part, found, like, like.new_empty(0)))
    return _Plan(
        found,
        linear([fixed[i] for i in turned] or [[Angle()] * n]),
        turned,
        [linear([layer]) if any(a.features for a in layer) else None for layer in of_x],
        tables and [Constant(table.numpy()) for table in tables],
    )


def _role(operation: Operation) -> Role:
    return "chain" if operation.name in AXES else "rest"


def _angle(chain: tuple[Operation, ...]) -> Angle:
    return chain[0].angles[0] if chain and isinstance(chain[0], Gate) else Angle()


def _tables(part: Part, found: list[Layer], like: Tensor, strengths: Tensor) -> list[Tensor]:
    """Return the state before the first layer, the maps between layers, and the observables."""
    n = len(part.qubits)

    def frame(layer: Layer) -> Tensor:
        axes = "".join(AXES[chain[0].name] if chain else "z" for chain in layer.chains)
        return _frame(axes)(like)

    matrices = {o: constant(o, like, strengths) for layer in found for o in _unplaced(layer)}

    def after(layer: Layer) -> Tensor:
        """Return what the rows of the layer's frame become until the next turns, as Pauli's."""
        gates = [(o.wires, matrices[_at_start(o)]) for o in layer.rest]
        return evolve(frame(layer).unsqueeze(-3), gates, 4).squeeze(-3)

    made: dict[tuple[object, ...], Tensor] = {}  # layers repeat
    maps = []
    for layer, following in pairwise(found):
        key = (*map(_axes, (layer, following)), layer.rest)
        if key not in made:
            made[key] = after(layer) @ frame(following).mT
        maps.append(made[key])
    observables = after(found[-1])[..., list(part.strings)].mT.contiguous()
    zero = reduce(torch.kron, [like.new_tensor([1, 0, 0, 1])] * n)  # |0…0⟩
    return [frame(found[0]) @ zero, *maps, observables]


def _axes(layer: Layer) -> tuple[str, ...]:
    return tuple(chain[0].name if chain else "" for chain in layer.chains)


def _at_start(operation: Operation) -> Operation:
    """Return the operation on the first wires: its matrix does not depend on them."""
    return replace(operation, wires=tuple(range(len(operation.wires))))


def _unplaced(layer: Layer) -> set[Operation]:
    return {_at_start(operation) for operation in layer.rest}


@cache
def _frequencies(qubits: int) -> NDArray[np.float64]:
    """Return s of every z, shape ``(n, 4^n / 2)``."""
    signs, moving = _signs(qubits)
    still = np.zeros((2 ** (qubits - 1), qubits))
    return np.concatenate([still, signs[moving]]).T.copy()


@cache
def _frame(axes: str) -> Constant:
    """Return the real orthogonal matrix to (Re z₁, Im z₁, Re z₂, …), shape ``(4^n, 4^n)``.

    Args:
        axes: The axis about which each qubit turns.
    """
    qubits, ones = len(axes), np.zeros((len(axes), 4, 4), complex)
    for one, axis in zip(ones, axes, strict=True):
        own, u, v = {"x": (1, 2, 3), "y": (2, 3, 1), "z": (3, 1, 2)}[axis]
        one[0, 0] = one[1, own] = 1
        one[2, [u, v]] = np.array([1, 1j]) / np.sqrt(2)
        one[3] = one[2].conj()
    rows = reduce(np.kron, ones)
    signs, moving = _signs(qubits)
    still = rows[~signs.any(1)].real
    half = np.sqrt(2) * rows[moving]
    moved = np.stack([half.real, half.imag], 1).reshape(-1, 4**qubits)
    return Constant(np.concatenate([still, moved]))


@cache
def _signs(qubits: int) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return s of every product, ``(4^n, n)``, and which have 1 as their first s but zeros."""
    digits = np.arange(4**qubits)[:, None] // 4 ** np.arange(qubits)[::-1] % 4
    signs = np.array([0.0, 0.0, 1.0, -1.0])[digits]
    return signs, signs @ 3.0 ** np.arange(qubits)[::-1] > 0
