"""Error mitigation: against PennyLane's, and exact where noise is."""

import numpy as np
import pennylane as qml
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from random_circuits import ansatz, examples, lists

from qmoe_fed.circuits import Circuit, Slot, engine, feature, gate, statevector, with_noise
from qmoe_fed.circuits.noise.mitigation import (
    extrapolate,
    extrapolated,
    fold,
    lawful,
    without_readout_errors,
)
from qmoe_fed.errors import UserError

X = torch.tensor([[0.3, 1.1, 0.4], [2.0, -0.7, 0.9]], dtype=torch.float64)


def angles(count, seed=0):
    return torch.rand(count, generator=torch.Generator().manual_seed(seed)).double() * 6 - 3


@given(lists(unitaries=True), st.sampled_from([1, 1.7, 3, 4.4]))
@examples(12)
def test_a_folded_circuit_does_the_same(circuit, scale):
    folded, theta = fold(circuit, scale), angles(circuit.parameters)
    count = len(circuit.operations)
    assert len(folded.operations) == pytest.approx(count * scale, abs=1)
    expected = statevector.run(circuit, X, theta)
    torch.testing.assert_close(statevector.run(folded, X, theta), expected)


@pytest.mark.parametrize("scale", [1, 1.5, 2, 3, 4, 6.3])
def test_folding_is_pennylanes(scale):
    circuit = Circuit(2, (gate("RX", 0, 0.1), gate("CNOT", (0, 1)), gate("RY", 1, 0.3)))
    folded = fold(circuit, scale).operations
    ours = [(o.name, o.wires, *(a.constant for a in o.angles)) for o in folded]
    ops = [qml.RX(0.1, 0), qml.CNOT((0, 1)), qml.RY(0.3, 1)]
    (tape,), _ = qml.noise.fold_global(qml.tape.QuantumScript(ops), scale)
    theirs = [qml.simplify(o) for o in tape.operations]
    theirs = [(o.name, tuple(o.wires), *o.parameters) for o in theirs]
    for own, other in zip(ours, theirs, strict=True):
        assert own[:2] == other[:2]
        assert np.cos(own[2:]) == pytest.approx(np.cos(other[2:]))  # they add multiples of 2π


def test_noise_comes_with_every_gate_and_readout_errors_once():
    circuit = with_noise(ansatz(2, 1, measured=1), "depolarizing", 0.1, "gate")
    circuit = with_noise(circuit, "bit-flip", Slot(0), "readout")
    names = [o.name for o in fold(circuit, 3).operations]
    before = [o.name for o in circuit.operations]
    assert names.count("bit-flip") == 1
    assert names[-1] == "bit-flip"
    assert names.count("depolarizing") == 3 * before.count("depolarizing")
    assert names.count("CZ") == 3


def test_a_shrinking_by_powers_is_undone_exactly():
    # depolarizing commutes with rotations of one qubit: ⟨Z⟩ shrinks by r^(gates)
    bare = Circuit(1, (gate("RY", 0, feature(0)), gate("RY", 0, 0.4)), "expval")
    noisy = with_noise(bare, "depolarizing", 0.06, "gate")
    ideal = statevector.run(bare, X, angles(0))
    torch.testing.assert_close(statevector.run(noisy, X, angles(0)), ideal * (1 - 0.08) ** 2)
    found = extrapolated(statevector.run, "exponential")(noisy, X, angles(0), None)
    torch.testing.assert_close(found, ideal)


@pytest.mark.parametrize("method", ["linear", "richardson"])
def test_extrapolation_is_pennylanes(method):
    scales, values = [1.0, 2.0, 3.0], torch.tensor([[0.7, 0.2], [0.5, 0.3], [0.41, 0.33]]).double()
    order = 1 if method == "linear" else 2
    expected = qml.noise.poly_extrapolate(scales, list(values), order)
    torch.testing.assert_close(extrapolate(values, scales, method, 0.0), expected)


def test_exponential_extrapolation_is_pennylanes():
    scales, values = np.array([1.0, 3.0, 5.0]), torch.tensor([0.8, 0.7, 0.62]).double()
    expected = qml.noise.exponential_extrapolate(scales, values.numpy(), asymptote=0.5)
    found = extrapolate(values, scales.tolist(), "exponential", 0.5)
    assert float(found) == pytest.approx(float(expected))


def test_values_on_both_sides_of_the_asymptote_are_on_a_line():
    values = torch.tensor([0.52, 0.49]).double()
    assert float(extrapolate(values, [1, 3], "exponential", 0.5)) == pytest.approx(0.535)


@pytest.mark.parametrize("name", ["statevector", "pennylane:default.mixed"])
@pytest.mark.parametrize("method", ["linear", "richardson", "exponential"])
def test_any_engine_comes_closer_to_no_noise(name, method):
    bare = ansatz(2, 2, measured=1, reuploading=True)
    noisy, theta = with_noise(bare, "depolarizing", 0.01, "gate"), angles(bare.parameters)
    ideal, run = statevector.run(bare, X, theta), engine(name)
    off = (run(noisy, X, theta, None) - ideal).abs().max()
    mitigated = extrapolated(run, method)(noisy, X, theta, None)
    assert (mitigated - ideal).abs().max() < 0.6 * off
    torch.testing.assert_close(mitigated.sum(-1), torch.ones(2).double())


@pytest.mark.parametrize("readout", ["probs", "expval"])
def test_readout_errors_are_inverted_exactly(readout):
    bare = ansatz(3, 2, readout, 2)
    noisy = with_noise(bare, "bit-flip", 0.07, "readout")
    noisy = with_noise(noisy, "bit-flip", Slot(0), "readout")
    theta = angles(bare.parameters)
    strengths = torch.tensor([[0.1], [0.2]]).double()
    found = without_readout_errors(statevector.run)(noisy, X, theta, strengths)
    expected = statevector.run(bare, X, theta).expand(2, -1, -1)
    torch.testing.assert_close(found, expected)
    assert not torch.allclose(statevector.run(noisy, X, theta, strengths), expected, atol=0.01)


def test_the_nearest_probabilities():
    found = lawful(torch.tensor([[1.2, -0.2], [0.6, 0.4], [0.5, 0.7]]), "probs")
    torch.testing.assert_close(found, torch.tensor([[1.0, 0.0], [0.6, 0.4], [0.4, 0.6]]))
    assert lawful(torch.tensor([-1.3, 0.2]), "expval").tolist() == pytest.approx([-1, 0.2])


def test_bad_requests_are_refused():
    circuit = ansatz(1, 1)
    with pytest.raises(UserError, match="at least 1"):
        fold(circuit, 0.5)
    with pytest.raises(UserError, match="extrapolation"):
        extrapolate(torch.ones(2), [1, 3], "cubic", 0.0)
    with pytest.raises(UserError, match="different"):
        extrapolate(torch.ones(2), [3, 3], "linear", 0.0)
    flipped = with_noise(circuit, "bit-flip", 0.5, "readout")
    with pytest.raises(UserError, match="nothing is left"):
        without_readout_errors(statevector.run)(flipped, X, angles(1))
