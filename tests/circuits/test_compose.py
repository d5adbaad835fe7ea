"""Circuits made of circuits: against PennyLane, and against what they are by hand."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from random_circuits import ansatz, examples, lists

from qmoe_fed.circuits import (
    Circuit,
    amplitude_embedding,
    channel,
    engine,
    feature,
    gate,
    parameter,
    statevector,
)
from qmoe_fed.circuits.compose import amplify, inverse, superpose
from qmoe_fed.errors import UserError

X = torch.tensor([[0.3, 1.1, 0.4], [2.0, -0.7, 0.9]], dtype=torch.float64)


def angles(count, seed=0):
    return torch.rand(count, generator=torch.Generator().manual_seed(seed)).double() * 6 - 3


@given(lists(unitaries=True))
@examples(8)
def test_every_gate_is_undone(circuit):
    back = [inverse(operation) for operation in reversed(circuit.operations)]
    whole = Circuit(circuit.qubits, (*circuit.operations, *back))
    found = statevector.run(whole, X, angles(whole.parameters))
    assert found[:, 0].tolist() == pytest.approx([1, 1])


@pytest.mark.parametrize(
    "operation", [channel("bit-flip", 0, 0.1), amplitude_embedding(1.0, wires=(0,))]
)
def test_what_nothing_undoes_is_refused(operation):
    with pytest.raises(UserError, match="with an inverse"):
        inverse(operation)


@pytest.mark.parametrize("rounds", [0, 1, 2, 5])
@pytest.mark.parametrize("marked", [(0,), (1, 2)])
def test_rounds_of_amplification_turn_by_twice_the_angle(rounds, marked):
    a = ansatz(3, 2, measured=2, reuploading=True)
    theta = angles(a.parameters)
    before = statevector.run(a, X, theta)
    after = statevector.run(amplify(a, rounds, marked), X, theta)
    p = before[:, marked].sum(-1)
    expected = torch.sin((2 * rounds + 1) * p.sqrt().asin()) ** 2
    torch.testing.assert_close(after[:, marked].sum(-1), expected)
    shares = before[:, marked] / p[:, None]
    torch.testing.assert_close(after[:, marked], shares * expected[:, None])


def test_a_quarter_becomes_certain_in_one_round():
    a = Circuit(2, (gate("H", 0), gate("H", 1)))
    found = statevector.run(amplify(a, 1, (3,)), X, angles(0))
    assert found[0].tolist() == pytest.approx([0, 0, 0, 1])


def test_amplified_circuits_are_pennylanes():
    circuit = amplify(ansatz(2, 2, measured=1, entangler="strongly-entangling"), 2)
    theta = angles(circuit.parameters)
    expected = engine("pennylane:default.qubit")(circuit, X, theta, None)
    torch.testing.assert_close(statevector.run(circuit, X, theta), expected)


@pytest.mark.parametrize(
    ("rounds", "marked", "words"),
    [
        (-1, (0,), "expected 0 rounds"),
        (1, (), "some of the 4"),
        (1, (4,), "some of the 4"),
        (1, (-1,), "some of the 4"),
    ],
)
def test_amplification_that_cannot_be_is_refused(rounds, marked, words):
    with pytest.raises(UserError, match=words):
        amplify(ansatz(2, 1), rounds, marked)


def mixture(choice, circuits, theta):
    own = theta.split([choice.parameters, *(c.parameters for c in circuits)])
    weights = statevector.run(choice, X, own[0])
    values = [statevector.run(c, X, t) for c, t in zip(circuits, own[1:], strict=True)]
    return sum(weights[:, i, None] * value for i, value in enumerate(values))


CHOICES = {
    "constant": Circuit(2, (amplitude_embedding(0.1, -0.5, 0.3, wires=(0, 1)),)),
    "trained": Circuit(2, (amplitude_embedding(*map(parameter, range(3)), wires=(0, 1)),)),
    "router": ansatz(2, 2, reuploading=True),
}


@pytest.mark.parametrize("choice", CHOICES.values(), ids=CHOICES)
@pytest.mark.parametrize("kind", ["cz", "strongly-entangling"])
@pytest.mark.parametrize("readout", ["probs", "expval"])
def test_a_superposition_of_circuits_is_read_as_their_mixture(choice, kind, readout):
    one = ansatz(2, 2, readout, 1, entangler=kind, reuploading=True)
    circuits = [one, one, *2 * [ansatz(2, 1, readout, 1, embedding="rx")]]
    whole = superpose(choice, circuits)
    theta = angles(whole.parameters)
    expected = mixture(choice, circuits, theta)
    torch.testing.assert_close(statevector.run(whole, X, theta), expected)
    found = engine("pennylane:default.qubit")(whole, X, theta, None)
    torch.testing.assert_close(found, expected)


@given(st.lists(lists(qubits=st.just(2), unitaries=True), min_size=2, max_size=2))
@examples(5)
def test_any_two_lists_of_gates_can_be_superposed(pair):
    circuits = [Circuit(2, c.operations) for c in pair]
    whole = superpose(Circuit(1, (gate("RY", 0, feature(0)),)), circuits)
    theta = angles(whole.parameters)
    choice = Circuit(1, (gate("RY", 0, feature(0)),))
    torch.testing.assert_close(statevector.run(whole, X, theta), mixture(choice, circuits, theta))


def test_what_circuits_begin_with_is_applied_once():
    data = amplitude_embedding(feature(0), feature(1), 0.5, wires=(0, 1))
    circuits = [Circuit(2, (data, gate("RY", 0, parameter(0)))) for _ in range(2)]
    whole = superpose(Circuit(1, (gate("H", 0),)), circuits)
    assert [o.name for o in whole.operations].count("amplitude-embedding") == 1
    theta = angles(2)
    expected = mixture(Circuit(1, (gate("H", 0),)), circuits, theta)
    torch.testing.assert_close(statevector.run(whole, X, theta), expected)


def test_superpositions_that_cannot_be_are_refused():
    one, bit = ansatz(2, 1), Circuit(1, (gate("H", 0),))
    for circuits in ([], [one] * 3, [one, ansatz(3, 1)], [one, ansatz(2, 1, "expval")]):
        with pytest.raises(UserError, match="expected 1 to 2, alike"):
            superpose(bit, circuits)
    noisy = Circuit(2, (channel("bit-flip", 0, 0.1),))
    with pytest.raises(UserError, match="no channels"):
        superpose(bit, [noisy, one])
    embedded = [Circuit(1, (amplitude_embedding(a, wires=(0,)),)) for a in (1.0, feature(0))]
    with pytest.raises(UserError, match="all must begin with it"):
        superpose(bit, embedded)
