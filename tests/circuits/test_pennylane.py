import pennylane as qml
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from random_circuits import angles, assert_same, circuits, examples, seeds, with_gradients

from qmoe_fed.circuits import Circuit, statevector
from qmoe_fed.circuits.pennylane import run
from qmoe_fed.errors import UserError

# large circuits are rare
mostly_small = st.sampled_from([1, 2, 2, 3, 3, 4, 4, 5, 6, 7, 8, 10, 12])


def both(circuit, x, theta, device):
    """Return outputs and gradients of the state vector, and of PennyLane in double precision."""
    return (
        with_gradients(lambda x, t: statevector.run(circuit, x, t), x, theta),
        with_gradients(lambda x, t: run(circuit, x, t, device), x.double(), theta.double()),
    )


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.float64, 1e-12)], ids=str
)
@given(circuit=circuits(mostly_small), seed=seeds, data=st.data())
@examples(40)
def test_the_state_vector_equals_default_qubit(dtype, tolerance, circuit, seed, data):
    batch = data.draw(st.integers(1, 20 if circuit.qubits <= 4 else 2))
    features = data.draw(st.integers(1, circuit.qubits))
    x, theta = angles(circuit, seed, batch, features, dtype=dtype)
    assert_same(*both(circuit, x, theta, "default.qubit"), tolerance)


@pytest.mark.parametrize("device", ["lightning.qubit", "default.mixed"])
@given(circuit=circuits(max_layers=2), seed=seeds)
@examples(25)
def test_the_state_vector_equals_other_devices(device, circuit, seed):
    assert_same(*both(circuit, *angles(circuit, seed, batch=2), device), 1e-12)


@pytest.mark.parametrize("readout", ["probs", "expval"])
def test_devices_without_backpropagation_give_gradients_of_batches(readout):
    circuit = Circuit(2, 1, readout=readout)
    assert_same(*both(circuit, *angles(circuit, seed=0, batch=2), "reference.qubit"), 1e-12)


@pytest.mark.parametrize("device", ["default.qubit", "lightning.qubit"])
@given(circuit=circuits(st.integers(1, 3), max_layers=2), seed=seeds)
@examples(10)
def test_leading_dimensions_broadcast(device, circuit, seed):
    x, theta = angles(circuit, seed, batch=2, lead_x=(3,), lead_theta=(2, 1))
    assert_same(*both(circuit, x, theta, device), 1e-12)


@given(st.integers(1, 5), st.integers(1, 6), st.sampled_from("XY"), seeds)
@examples(30)
def test_strongly_entangling_circuits_equal_the_template(qubits, layers, axis, seed):
    circuit = Circuit(qubits, layers, "r" + axis.lower(), "strongly-entangling")
    x, theta = angles(circuit, seed)

    @qml.qnode(qml.device("default.qubit", wires=qubits))
    def template(x, theta):
        qml.AngleEmbedding(x, wires=range(qubits), rotation=axis)
        qml.StronglyEntanglingLayers(theta, wires=range(qubits))
        return qml.probs(wires=range(qubits))

    expected = template(x, theta)
    assert_same([statevector.run(circuit, x, theta), run(circuit, x, theta)], [expected] * 2, 1e-12)


@pytest.mark.parametrize("device", ["default.qubit", "lightning.qubit"])
@pytest.mark.parametrize("readout", ["probs", "expval"])
def test_the_result_has_the_type_of_the_features(device, readout):
    circuit = Circuit(2, 1, readout=readout)
    for dtype in (torch.float32, torch.float64):
        x, theta = angles(circuit, seed=0, dtype=dtype)
        assert run(circuit, x, theta, device).dtype == dtype


def test_an_unknown_device_is_refused_with_the_known_ones():
    with pytest.raises(UserError, match=r"Did you mean 'lightning\.qubit'.*default\.mixed.*pip"):
        run(Circuit(2, 1), torch.zeros(1, 2), torch.zeros(1, 2), "lightning.qbit")


@pytest.mark.parametrize("features", [0, 3])
def test_features_must_fit_the_qubits_of_a_device(features):
    with pytest.raises(UserError, match=f"{features} features do not fit 2 qubits"):
        run(Circuit(2, 1), torch.zeros(4, features), torch.zeros(1, 2))
