"""Which part of a circuit a measurement can feel."""

from random_circuits import ansatz

from qmoe_fed.circuits import with_noise
from qmoe_fed.circuits.noise.density import observables, parts


def wires_of(part, name):
    return [operation.wires for operation in part.operations if operation.name == name]


def test_probabilities_are_read_from_all_products_of_z():
    assert observables(ansatz(4, 1, measured=2)) == [(1,), (0,), (0, 1)]
    assert observables(ansatz(4, 1, "expval", measured=3)) == [(0,), (1,), (2,)]


def test_a_chain_of_cz_widens_the_light_cone_by_one_qubit_a_layer_but_the_last():
    """The last CZ are diagonal, as what is measured; only the noise after them is felt."""
    (part,) = parts(with_noise(ansatz(9, 3, measured=1), "bit-flip", 0.1, "gate"))
    assert part.qubits == (0, 1, 2)
    assert part.strings == (3 * 4**2,)
    assert wires_of(part, "RY") == [(0,), (1,), (2,)] * 2 + [(0,), (1,), (0,)]
    assert wires_of(part, "CZ") == [(0, 1), (1, 2), (0, 1)]
    felt = [(0,), (1,), (2,)] * 2 + [(0,), (1,), (1,)] + [(0,), (1,), (0,)] + [(0,), (0,)]
    assert wires_of(part, "bit-flip") == felt


def test_wires_are_numbered_within_the_light_cone():
    circuit = with_noise(ansatz(12, 2, "expval"), "bit-flip", 0.1, "notebook")
    *_, last = parts(circuit)
    assert last.qubits == (8, 9, 10, 11)
    assert last.strings == (3 * 4**2, 3 * 4, 3)
    assert wires_of(last, "CZ") == [(0, 1), (1, 2), (2, 3)]
    every, end = [(0,), (1,), (2,), (3,)], [(1,), (2,), (3,)]
    assert wires_of(last, "RY") == every + every + end
    assert wires_of(last, "bit-flip") == every + end


def test_cnots_are_felt_wherever_they_touch():
    circuit = ansatz(3, 1, measured=1, entangler="strongly-entangling")
    (part,) = parts(with_noise(circuit, "bit-flip", 0.1, "gate"))
    on_first = [operation.name for operation in part.operations if operation.wires == (0,)]
    assert [name for name in on_first if name != "bit-flip"] == ["RY", "RZ", "RY"]
    assert wires_of(part, "CNOT") == [(0, 1), (1, 2), (2, 0)]


def test_observables_part_only_where_that_saves_arithmetic():
    def chain(qubits, **kind):
        return parts(with_noise(ansatz(qubits, 3, "expval", **kind), "bit-flip", 0.1, "gate"))

    assert len(chain(6)) == 1
    assert [part.qubits for part in chain(8)] == [(0, 1, 2, 3, 4, 5), (2, 3, 4, 5, 6, 7)]
    assert len(chain(8, entangler="strongly-entangling")) == 1
