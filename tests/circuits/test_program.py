from qmoe_fed.circuits import Circuit
from qmoe_fed.circuits.program import Step, observables, parts


def test_probabilities_are_read_from_all_products_of_z():
    circuit = Circuit(4, 1, measured=2)
    assert observables(circuit) == [(1,), (0,), (0, 1)]
    assert observables(Circuit(4, 1, readout="expval", measured=3)) == [(0,), (1,), (2,)]


def test_a_chain_of_cz_widens_the_light_cone_by_one_qubit_a_layer_but_the_last():
    """The last CZ are diagonal, as what is measured; only the noise after them is felt."""
    (part,) = parts(Circuit(9, 3, measured=1), "gate")
    assert part.qubits == (0, 1, 2)
    assert part.strings == (3 * 4**2,)
    embedding, first, second, last = part.steps
    assert embedding == Step("y", True, (0, 1, 2), True)
    assert first == Step("y", False, (0, 1, 2), True, ((0, 1), (1, 2)))
    assert second == Step("y", False, (0, 1), True, ((0, 1),))
    assert last == Step("y", False, (0,), True, ((0,),))


def test_wires_are_numbered_within_the_light_cone():
    circuit = Circuit(12, 2, readout="expval", measured=12)
    *_, last = parts(circuit, "notebook")
    assert last.qubits == (8, 9, 10, 11)
    assert last.strings == (3 * 4**2, 3 * 4, 3)
    embedding, first, end = last.steps
    assert embedding.noisy
    assert not first.noisy
    assert first.gates == ((0, 1), (1, 2), (2, 3))
    assert end.gates == ((1,), (2,), (3,))


def test_cnots_are_felt_wherever_they_touch():
    circuit = Circuit(3, 1, entangler="strongly-entangling", measured=1)
    (part,) = parts(circuit, "gate")
    assert [step.axis for step in part.steps] == ["y", "z", "y", "z"]
    assert part.steps[-1].gates == ((0, 1), (1, 2), (2, 0))


def test_observables_part_only_where_that_saves_arithmetic():
    assert len(parts(Circuit(6, 3, readout="expval"), "gate")) == 1
    assert [part.qubits for part in parts(Circuit(8, 3, readout="expval"), "gate")] == [
        (0, 1, 2, 3, 4, 5),
        (2, 3, 4, 5, 6, 7),
    ]
    ring = Circuit(8, 3, entangler="strongly-entangling", readout="expval")
    assert len(parts(ring, "gate")) == 1
