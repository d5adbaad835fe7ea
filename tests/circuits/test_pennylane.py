import pennylane as qml
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from random_circuits import (
    angles,
    ansatz,
    assert_same,
    circuits,
    examples,
    lists,
    seeds,
    with_gradients,
)

from qmoe_fed.circuits import Circuit, channel, engine, gate, statevector
from qmoe_fed.circuits.ansatz import layered
from qmoe_fed.circuits.pennylane import run
from qmoe_fed.errors import UserError

# large circuits are rare
mostly_small = st.sampled_from([1, 2, 2, 3, 3, 4, 4, 5, 6, 7, 8, 10, 12])

# default.mixed multiplies numbers by tensors in a way that NumPy 2 warns of
numbers_times_tensors = pytest.mark.filterwarnings("ignore:__array_wrap__:DeprecationWarning")


def both(circuit, x, theta, device, strengths=None):
    """Return outputs and gradients of the state vector, and of PennyLane in double precision."""
    theirs = engine(f"pennylane:{device}")
    return (
        with_gradients(lambda x, t: statevector.run(circuit, x, t, strengths), x, theta),
        with_gradients(lambda x, t: theirs(circuit, x, t, strengths), x.double(), theta.double()),
    )


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.float64, 1e-12)], ids=str
)
@given(circuit=circuits(mostly_small), seed=seeds, data=st.data())
@examples(40)
def test_the_state_vector_equals_default_qubit(dtype, tolerance, circuit, seed, data):
    batch = data.draw(st.integers(1, 20 if circuit.qubits <= 4 else 2))
    x, theta = angles(circuit, seed, batch, dtype=dtype)
    assert_same(*both(circuit, x, theta, "default.qubit"), tolerance)


@pytest.mark.parametrize("device", ["lightning.qubit", "default.mixed"])
@given(circuit=circuits(max_layers=2), seed=seeds)
@examples(25)
def test_the_state_vector_equals_other_devices(device, circuit, seed):
    assert_same(*both(circuit, *angles(circuit, seed, batch=2), device), 1e-12)


@given(circuit=lists(unitaries=True, embedding=True), seed=seeds, batch=st.sampled_from([1, 2, 20]))
@examples(40)
def test_any_list_of_gates_equals_default_qubit(circuit, seed, batch):
    assert_same(*both(circuit, *angles(circuit, seed, batch), "default.qubit"), 1e-10)


@numbers_times_tensors
@given(
    circuit=lists(st.integers(1, 3), noise=True, unitaries=True, embedding=True),
    seed=seeds,
    batch=st.sampled_from([1, 3]),
)
@examples(25)
def test_any_list_with_channels_equals_default_mixed(circuit, seed, batch):
    strengths = torch.tensor([0.13, 0.07], dtype=torch.float64)
    inputs = angles(circuit, seed, batch)
    assert_same(*both(circuit, *inputs, "default.mixed", strengths), 1e-10)


@pytest.mark.parametrize("readout", ["probs", "expval"])
def test_devices_without_backpropagation_give_gradients_of_batches(readout):
    circuit = ansatz(2, 1, readout)
    assert_same(*both(circuit, *angles(circuit, seed=0, batch=2), "reference.qubit"), 1e-12)


@pytest.mark.parametrize("device", ["default.qubit", "lightning.qubit"])
@given(circuit=circuits(st.integers(1, 3), max_layers=2), seed=seeds)
@examples(10)
def test_leading_dimensions_broadcast(device, circuit, seed):
    x, theta = angles(circuit, seed, batch=2, lead_x=(3,), lead_theta=(2, 1))
    assert_same(*both(circuit, x, theta, device), 1e-12)


@numbers_times_tensors
@given(lists(st.integers(1, 2), noise=True, most=4), seeds)
@examples(6)
def test_strengths_of_replicas_broadcast(circuit, seed):
    x, theta = angles(circuit, seed, batch=2, lead_x=(3,), lead_theta=(2, 1))
    strengths = torch.rand(3, 2, generator=torch.Generator().manual_seed(seed)).double()
    assert_same(*both(circuit, x, theta, "default.mixed", strengths), 1e-10)


@given(st.integers(1, 5), st.integers(1, 6), st.sampled_from("XY"), seeds)
@examples(30)
def test_strongly_entangling_circuits_equal_the_template(qubits, layers, axis, seed):
    circuit = layered(qubits, layers, qubits, "r" + axis.lower(), "strongly-entangling")
    x, theta = angles(circuit, seed)

    @qml.qnode(qml.device("default.qubit", wires=qubits))
    def template(x, theta):
        qml.AngleEmbedding(x, wires=range(qubits), rotation=axis)
        qml.StronglyEntanglingLayers(theta, wires=range(qubits))
        return qml.probs(wires=range(qubits))

    expected = template(x, theta.view(layers, qubits, 3))
    assert_same([statevector.run(circuit, x, theta), run(circuit, x, theta)], [expected] * 2, 1e-12)


@pytest.mark.parametrize("device", ["default.qubit", "lightning.qubit"])
@pytest.mark.parametrize("readout", ["probs", "expval"])
def test_the_result_has_the_type_of_the_features(device, readout):
    circuit = ansatz(2, 1, readout)
    for dtype in (torch.float32, torch.float64):
        x, theta = angles(circuit, seed=0, dtype=dtype)
        assert run(circuit, x, theta, device=device).dtype == dtype


def test_an_unknown_device_is_refused_with_the_known_ones():
    with pytest.raises(UserError, match=r"Did you mean 'lightning\.qubit'.*default\.mixed.*pip"):
        run(layered(2, 1, 2), torch.zeros(1, 2), torch.zeros(2), device="lightning.qbit")


def test_a_device_of_pure_states_refuses_noise():
    circuit = Circuit(1, (gate("H", 0), channel("bit-flip", 0, 0.1)))
    with pytest.raises(UserError, match=r"'default\.qubit' runs no noise.*default\.mixed"):
        run(circuit, torch.zeros(1, 0), torch.zeros(0))


def test_features_must_fit_the_circuit_on_a_device():
    with pytest.raises(UserError, match="1 features: the circuit reads 2"):
        run(layered(2, 1, 2), torch.zeros(4, 1), torch.zeros(2))
