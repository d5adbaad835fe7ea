"""What a circuit is: its counts, equality, and what is refused when one is made."""

import copy
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given
from random_circuits import ansatz, examples, lists

from qmoe_fed.circuits import (
    Angle,
    Circuit,
    Gate,
    Slot,
    amplitude_embedding,
    channel,
    feature,
    gate,
    parameter,
    unitary,
)
from qmoe_fed.circuits.ansatz import layered, ring
from qmoe_fed.circuits.statevector import run
from qmoe_fed.errors import UserError


def test_shapes_and_number_of_outputs():
    paper = layered(3, 2, 3)
    assert paper.parameters == 2 * 3
    assert paper.features == 3
    assert paper.measured == 3
    assert paper.outputs == 8
    assert ansatz(3, 2, measured=2).outputs == 4
    assert ansatz(3, 2, measured=0).outputs == 1
    assert ansatz(3, 2, "expval", measured=2).outputs == 2
    assert layered(3, 2, 3, entangler="strongly-entangling").parameters == 2 * 3 * 3


def test_the_reach_of_cnots_grows_with_the_layer_and_starts_over():
    assert ring(3, 0) == ring(3, 2) == [(0, 1), (1, 2), (2, 0)]
    assert ring(3, 1) == [(0, 2), (1, 0), (2, 1)]
    assert ring(1, 0) == []
    circuit = layered(3, 3, 3, entangler="strongly-entangling")
    cnots = [operation.wires for operation in circuit.operations if operation.name == "CNOT"]
    assert cnots == ring(3, 0) + ring(3, 1) + ring(3, 2)


def test_slots_features_and_channels_are_counted():
    turn = gate("RX", 0, feature(4) + parameter(0))
    circuit = Circuit(2, (turn, channel("bit-flip", 1, Slot(2)), channel("bit-flip", 0, 0.1)))
    assert (circuit.features, circuit.parameters, circuit.strengths) == (5, 1, 3)
    assert circuit.noisy
    assert not layered(2, 1, 2).noisy
    empty = Circuit(1, ())
    assert (empty.features, empty.parameters, empty.strengths) == (0, 0, 0)


def test_angles_add_and_scale():
    angle = 2 * (feature(1) - 0.5 * parameter(0)) / 4 + 1 - feature(1) / 2
    assert angle == Angle(1.0, (), ((0, -0.25),))
    assert 1 - parameter(0) == Angle(1.0, (), ((0, -1.0),))
    assert -feature(0) == Angle(0.0, ((0, -1.0),))
    assert sum([feature(0), feature(2)], 0.5) == Angle(0.5, ((0, 1.0), (2, 1.0)))


@given(lists(unitaries=True, embedding=True, noise=True))
@examples(10)
def test_circuits_that_are_alike_are_equal_wherever_they_were(circuit):
    twin = Circuit(circuit.qubits, list(circuit.operations), circuit.readout, circuit.measured)
    for other in (twin, pickle.loads(pickle.dumps(circuit)), copy.deepcopy(circuit)):
        assert other == circuit
        assert hash(other) == hash(circuit)
    more = Circuit(circuit.qubits, (*circuit.operations, gate("H", 0)))
    assert more != circuit


def test_a_circuit_cannot_be_changed():
    with pytest.raises(AttributeError):
        layered(2, 1, 2).qubits = 3


@pytest.mark.parametrize("measured", [-2, 3])
def test_more_qubits_than_there_are_cannot_be_measured(measured):
    with pytest.raises(UserError, match=f"cannot measure {measured} of 2 qubits"):
        ansatz(2, 1, measured=measured)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Circuit(0, ()), "circuit of 0 qubits: expected 1 or more"),
        (lambda: Circuit(1, (), "counts"), "readout = 'counts': expected 'probs' or 'expval'"),
        (lambda: Circuit(1, ("RX",)), "operation 0 is a str, not a Gate or Channel"),
        (
            lambda: Circuit(2, (gate("H", 0), gate("CZ", (1, 2)))),
            r"operation 1, CZ on wires \(1, 2\): there are only 2 qubits, numbered from 0",
        ),
        (
            lambda: Circuit(2, (gate("H", 0), amplitude_embedding(1.0, wires=(0, 1)))),
            r"operation 1, amplitude-embedding on wires \(0, 1\): must come before all else",
        ),
        (
            lambda: Circuit(1, (gate("RX", 0, parameter(0) + parameter(3)),)),
            "without gaps: there is 3, but no 1, 2",
        ),
        (lambda: gate("RXX", 0, 1.0), "unknown gate 'RXX'.*Did you mean 'RX'"),
        (lambda: gate("CZ", 0), r"CZ on wires \(0,\): acts on 2 different wires"),
        (lambda: gate("CZ", (1, 1)), r"CZ on wires \(1, 1\): acts on 2 different wires"),
        (lambda: gate("H", -1), r"H on wires \(-1,\): acts on 1 wire, numbered from 0"),
        (lambda: gate("Rot", 0, 1.0), r"gate Rot on wires \(0,\): takes 3 angles, got 1"),
        (lambda: gate("RX", 0, float("nan")), "expected finite numbers"),
        (lambda: feature(-1), "features and parameters are numbered from 0"),
        (lambda: parameter(-1), "features and parameters are numbered from 0"),
        (lambda: parameter(0) * float("inf"), "expected finite numbers"),
        (lambda: unitary(np.eye(2), 0, 1), r"expected a matrix of 4 rows and columns.*\(2, 2\)"),
        (lambda: unitary(2 * np.eye(2), 0), "the matrix times its adjoint is not 1"),
        (lambda: unitary(np.eye(4), 1, 1), r"unitary on wires \(1, 1\): acts on 2 different"),
        (lambda: amplitude_embedding(*[1.0] * 3, wires=(0,)), "3 amplitudes do not fit 1 qubits"),
        (lambda: amplitude_embedding(wires=(0,)), "0 amplitudes do not fit 1 qubits"),
        (lambda: amplitude_embedding(1.0, wires=()), "acts on 1 wire"),
        (lambda: channel("bit-flop", 0, 0.1), "unknown noise channel.*Did you mean 'bit-flip'"),
        (lambda: channel("bit-flip", 0, 1.5), r"noise strength = 1\.5: must be in \[0, 1\]"),
        (lambda: channel("bit-flip", -1, 0.5), r"bit-flip on wires \(-1,\): acts on 1 wire"),
    ],
)
def test_what_cannot_be_a_circuit_is_refused(make, message):
    with pytest.raises(UserError, match=message):
        make()


@pytest.mark.parametrize("features", [0, 3])
def test_features_must_fit_the_qubits(features):
    with pytest.raises(UserError, match=f"{features} features do not fit 2 qubits"):
        layered(2, 1, features)


@pytest.mark.parametrize(
    ("x", "theta", "strengths", "message"),
    [
        (1, 2, None, "1 features: the circuit reads 2"),
        (2, 3, None, "3 parameters: the circuit has 2"),
        (2, 2, 1, "1 strengths of noise: the circuit has slots for 0"),
    ],
)
def test_inputs_must_fit_the_circuit(x, theta, strengths, message):
    strengths = None if strengths is None else torch.zeros(strengths)
    with pytest.raises(UserError, match=message):
        run(layered(2, 1, 2), torch.zeros(4, x), torch.zeros(theta), strengths)


def test_strengths_must_be_given_where_there_are_slots():
    circuit = Circuit(1, (channel("bit-flip", 0, Slot(0)),))
    with pytest.raises(UserError, match="0 strengths of noise: the circuit has slots for 1"):
        run(circuit, torch.zeros(4, 0), torch.zeros(0))


def test_a_gate_is_plain_data():
    assert gate("RX", 0, 1) == Gate("RX", (0,), (Angle(1.0),))
    assert gate("CZ", (0, 1)).angles == ()
