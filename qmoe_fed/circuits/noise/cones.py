"""The part of a circuit that a measurement can feel."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cache

from qmoe_fed.circuits.circuit import Circuit
from qmoe_fed.circuits.operations import Operation
from qmoe_fed.circuits.schedule import felt, primitives

Wires = tuple[int, ...]

OVERHEAD = 4**8
"""What it costs to simulate a part, however small, in coefficients of observables."""


@dataclass(frozen=True, eq=False)
class Part:
    """Observables, and what of the circuit they feel.

    Attributes:
        qubits: The circuit's qubits in the light cone, ascending, at least one.
        strings: The observables, products of Z, as numbers in base 4 over these qubits: digit 3
            is Z, digit 0 nothing.
        operations: Rotations, embeddings, constant gates and channels; their wires are positions
            in ``qubits``.
    """

    qubits: Wires
    strings: tuple[int, ...]
    operations: tuple[Operation, ...]


def observables(circuit: Circuit) -> list[Wires]:
    """Return the measured qubits of each product of Z that the readout is made of.

    For probabilities these are all products, as bit masks ascending, but the empty one.
    """
    if circuit.readout == "expval":
        return [(j,) for j in range(circuit.measured)]
    last = circuit.measured - 1
    return [
        tuple(j for j in range(circuit.measured) if mask >> (last - j) & 1)
        for mask in range(1, circuit.outputs)
    ]


@cache
def parts(circuit: Circuit) -> list[Part]:
    """Return the circuit for its observables, in order, apart where that saves much."""
    return _split(primitives(circuit), observables(circuit))


def _split(operations: tuple[Operation, ...], products: list[Wires]) -> list[Part]:
    whole = light_cone(operations, products)
    if len(products) < 2:
        return [whole]
    middle = len(products) // 2
    halves = [
        part for half in (products[:middle], products[middle:]) for part in _split(operations, half)
    ]
    return halves if sum(map(_cost, halves)) < _cost(whole) else [whole]


def _cost(part: Part) -> int:
    return OVERHEAD + len(part.strings) * 4 ** len(part.qubits)


def light_cone(operations: tuple[Operation, ...], products: list[Wires]) -> Part:
    """Leave out what observables cannot feel, see ``felt``.

    Args:
        operations: All of them.
        products: For each observable, the qubits of its Z.
    """
    kept, cone = felt(operations, {j for product in products for j in product} or {0})
    qubits = tuple(sorted(cone))

    def local(wires: Iterable[int]) -> Wires:
        return tuple(map(qubits.index, wires))

    strings = [sum(3 * 4 ** (len(qubits) - 1 - j) for j in local(product)) for product in products]
    renumbered = [replace(o, wires=local(o.wires)) for o in kept]
    return Part(qubits, tuple(strings), tuple(renumbered))
