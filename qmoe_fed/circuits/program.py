"""A circuit under noise as a list of steps, and the part of it that a measurement can feel."""

from dataclasses import dataclass, replace
from functools import cache

from qmoe_fed.circuits.circuit import Circuit

Wires = tuple[int, ...]

OVERHEAD = 4**8
"""What it costs to simulate a part, however small, in coefficients of observables."""


@dataclass(frozen=True)
class Step:
    """A rotation of qubits about one axis, and what follows before the next one.

    Attributes:
        axis: Axis of the rotations, ``x``, ``y`` or ``z``.
        embedding: Whether the angles are the features; otherwise they are the next ones of θ.
        turned: Qubits whose rotation is felt.
        noisy: Whether the channel follows each rotation and each entangler, on all their wires.
        gates: Wires of what follows, in order: two for the circuit's entangler, one for a channel
            of its own.
    """

    axis: str
    embedding: bool
    turned: Wires
    noisy: bool
    gates: tuple[Wires, ...] = ()


@dataclass(frozen=True, eq=False)
class Part:
    """Observables, and what of the circuit they feel.

    Attributes:
        qubits: The circuit's qubits in the light cone, ascending, at least one.
        strings: The observables, products of Z, as numbers in base 4 over these qubits: digit 3
            is Z, digit 0 nothing.
        steps: Their wires are positions in ``qubits``.
    """

    qubits: Wires
    strings: tuple[int, ...]
    steps: tuple[Step, ...]


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
def parts(circuit: Circuit, placement: str) -> list[Part]:
    """Return the circuit for its observables, in order, apart where that saves much.

    Args:
        circuit: The circuit.
        placement: Of the noise, see ``channels.Noise``.
    """
    return _split(circuit, _steps(circuit, placement), observables(circuit))


def _split(circuit: Circuit, steps: list[Step], products: list[Wires]) -> list[Part]:
    whole = light_cone(circuit, steps, products)
    if len(products) < 2:
        return [whole]
    middle = len(products) // 2
    halves = [
        part
        for half in (products[:middle], products[middle:])
        for part in _split(circuit, steps, half)
    ]
    return halves if sum(map(_cost, halves)) < _cost(whole) else [whole]


def _cost(part: Part) -> int:
    return OVERHEAD + len(part.strings) * 4 ** len(part.qubits)


def _steps(circuit: Circuit, placement: str) -> list[Step]:
    qubits, at_gates = tuple(range(circuit.qubits)), placement == "gate"
    *others, last = list("zyz" if circuit.entangler == "strongly-entangling" else "y")
    steps = []
    for layer in range(circuit.layers):
        if layer == 0 or circuit.reuploading:
            steps.append(Step(circuit.embedding[1], True, qubits, True))
        steps += [Step(axis, False, qubits, False) for axis in others]
        steps.append(Step(last, False, qubits, at_gates, _pairs(circuit, layer)))

    if not at_gates:
        end = tuple((j,) for j in qubits)
        steps[-1] = replace(steps[-1], gates=steps[-1].gates + end)
    return steps


def _pairs(circuit: Circuit, layer: int) -> tuple[Wires, ...]:
    """Return the wires of the entanglers after a layer, in order."""
    if circuit.entangler == "strongly-entangling":
        return tuple(circuit.cnots(layer))
    return tuple((j, j + 1) for j in range(circuit.qubits - 1) if circuit.entangler == "cz")


def light_cone(circuit: Circuit, steps: list[Step], products: list[Wires]) -> Part:
    """Leave out what observables cannot feel.

    A channel preserves the trace, so what follows the last use of a qubit that is not measured
    changes nothing. Nor does a CZ change operators that are diagonal, as those measured are and,
    after every channel, remain until a rotation comes.

    Args:
        circuit: The circuit.
        steps: All of it.
        products: For each observable, the qubits of its Z.
    """
    cone = {j for product in products for j in product} or {0}
    turned: set[int] = set()  # where operators may be no longer diagonal
    felt = []
    for step in reversed(steps):
        gates: list[Wires] = []
        for wires in reversed(step.gates):
            touched = turned if circuit.entangler == "cz" else cone
            if len(wires) == 2 and not touched.isdisjoint(wires):
                cone.update(wires)
                gates.append(wires)
            elif len(wires) == 1 or step.noisy:
                gates += [(j,) for j in wires if j in cone]
        felt.append(replace(step, turned=tuple(sorted(cone)), gates=tuple(reversed(gates))))
        turned = set(cone)
    qubits = tuple(sorted(cone))

    def local(wires: Wires) -> Wires:
        return tuple(map(qubits.index, wires))

    strings = [sum(3 * 4 ** (len(qubits) - 1 - j) for j in local(product)) for product in products]
    return Part(
        qubits,
        tuple(strings),
        tuple(
            replace(step, turned=local(step.turned), gates=tuple(map(local, step.gates)))
            for step in reversed(felt)
        ),
    )
