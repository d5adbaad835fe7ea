import pytest

from qmoe_fed.circuits import Circuit
from qmoe_fed.errors import UserError


def test_shapes_and_number_of_outputs():
    paper = Circuit(qubits=3, layers=2)
    assert paper.parameter_shape == (2, 3)
    assert paper.measured == 3
    assert paper.outputs == 8
    assert Circuit(3, 2, measured=2).outputs == 4
    assert Circuit(3, 2, measured=0).outputs == 1
    assert Circuit(3, 2, readout="expval", measured=2).outputs == 2
    assert Circuit(3, 2, entangler="strongly-entangling").parameter_shape == (2, 3, 3)


def test_only_ry_and_cz_keep_amplitudes_real():
    assert Circuit(2, 1).real
    assert not Circuit(2, 1, embedding="rx").real
    assert not Circuit(2, 1, entangler="strongly-entangling").real


def test_the_reach_of_cnots_grows_with_the_layer_and_starts_over():
    circuit = Circuit(3, 3, entangler="strongly-entangling")
    assert circuit.cnots(0) == circuit.cnots(2) == [(0, 1), (1, 2), (2, 0)]
    assert circuit.cnots(1) == [(0, 2), (1, 0), (2, 1)]
    assert Circuit(1, 1, entangler="strongly-entangling").cnots(0) == []


@pytest.mark.parametrize("measured", [-2, 3])
def test_more_qubits_than_there_are_cannot_be_measured(measured):
    with pytest.raises(UserError, match=f"cannot measure {measured} of 2 qubits"):
        Circuit(2, 1, measured=measured)
