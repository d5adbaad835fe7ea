from functools import reduce

import pennylane as qml
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from random_circuits import angles, assert_same, circuits, examples, seeds, with_gradients

from qmoe_fed.circuits import Circuit, statevector
from qmoe_fed.circuits.channels import CHANNELS, PLACEMENTS, Noise
from qmoe_fed.circuits.density import run
from qmoe_fed.errors import UserError

PENNYLANE = {
    "depolarizing": qml.DepolarizingChannel,
    "amplitude-damping": qml.AmplitudeDamping,
    "phase-damping": qml.PhaseDamping,
    "bit-flip": qml.BitFlip,
}


def density_matrix(circuit, x, theta, noise):
    """Run the noisy circuit on PennyLane's default.mixed, every channel written out."""
    n = circuit.qubits

    def gate(operation):
        if noise.placement == "gate":
            layer_of_noise(operation.wires)

    def layer_of_noise(wires):
        for wire in wires:
            PENNYLANE[noise.channel](noise.strength, wires=wire)

    @qml.qnode(qml.device("default.mixed", wires=n))
    def node(x, theta):
        for layer in range(circuit.layers):
            if layer == 0 or circuit.reuploading:
                for j in range(n):
                    angle = x[:, j % x.shape[1]]
                    gate((qml.RY if circuit.embedding == "ry" else qml.RX)(angle, wires=j))
                if noise.placement == "notebook":
                    layer_of_noise(range(n))
            for j in range(n):
                if circuit.entangler == "strongly-entangling":
                    gate(qml.Rot(*theta[layer, j], wires=j))
                else:
                    gate(qml.RY(theta[layer, j], wires=j))
            if circuit.entangler == "cz":
                for j in range(n - 1):
                    gate(qml.CZ(wires=[j, j + 1]))
            if circuit.entangler == "strongly-entangling":
                for pair in circuit.cnots(layer):
                    gate(qml.CNOT(wires=pair))
        if noise.placement == "notebook":
            layer_of_noise(range(n))
        for j in range(n):
            qml.BitFlip(noise.readout_error, wires=j)
        return qml.probs(wires=range(n))

    outcomes = node(x, theta).unflatten(-1, (2,) * n)
    if circuit.readout == "probs":
        return outcomes.flatten(1).unflatten(1, (circuit.outputs, -1)).sum(-1)
    return torch.stack(
        [
            (outcomes.select(j + 1, 0) - outcomes.select(j + 1, 1)).reshape(len(x), -1).sum(-1)
            for j in range(n)
        ],
        -1,
    )[:, : circuit.measured]


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.float64, 1e-10)], ids=str
)
@pytest.mark.parametrize("placement", PLACEMENTS)
@pytest.mark.parametrize("channel", CHANNELS)
@given(
    circuit=circuits(max_layers=3),
    seed=seeds,
    batch=st.sampled_from([1, 3, 16]),  # few samples travel forwards, many backwards
    strength=st.floats(0, 0.4),
    readout_error=st.floats(0, 0.4),
    data=st.data(),
)
@examples(15)
def test_equals_the_density_matrix(
    channel, placement, dtype, tolerance, circuit, seed, batch, strength, readout_error, data
):
    noise = Noise(channel, strength, placement, readout_error)
    features = data.draw(st.integers(1, circuit.qubits))
    x, theta = angles(circuit, seed, batch, features, dtype=dtype)
    actual = with_gradients(lambda x, t: run(circuit, x, t, noise), x, theta)
    expected = with_gradients(
        lambda x, t: density_matrix(circuit, x, t, noise), x.double(), theta.double()
    )
    assert actual[0].dtype == dtype
    assert_same(actual, expected, tolerance)


@pytest.mark.parametrize("channel", CHANNELS)
@given(circuit=circuits(st.sampled_from([1, 2, 4, 5, 6, 7, 8])), seed=seeds, data=st.data())
@examples(8)
def test_without_noise_it_equals_the_state_vector(channel, circuit, seed, data):
    noise = Noise(channel, 0.0, data.draw(st.sampled_from(PLACEMENTS)))
    x, theta = angles(circuit, seed, batch=data.draw(st.sampled_from([1, 9])))
    actual = with_gradients(lambda x, t: run(circuit, x, t, noise), x, theta)
    expected = with_gradients(lambda x, t: statevector.run(circuit, x, t), x, theta)
    assert_same(actual, expected, 1e-10)


@given(circuits(st.integers(5, 7), max_layers=2), seeds)
@examples(12)
def test_one_sample_alone_equals_the_same_among_many(circuit, seed):
    noise = Noise("amplitude-damping", 0.1, readout_error=0.05)
    x, theta = angles(circuit, seed, batch=40)
    together = run(circuit, x, theta, noise)
    assert_same([run(circuit, x[:1], theta, noise)], [together[:1]], 1e-12)


@pytest.mark.parametrize("placement", PLACEMENTS)
@pytest.mark.parametrize("entangler", ["cz", "none", "strongly-entangling"])
def test_full_depolarizing_leaves_the_uniform_distribution(entangler, placement):
    circuit = Circuit(4, 2, entangler=entangler)
    x, theta = angles(circuit, seed=0)
    outputs = run(circuit, x, theta, Noise("depolarizing", 0.75, placement))
    torch.testing.assert_close(outputs, torch.full_like(outputs, 1 / 16))


def test_readout_error_alone_mixes_outcomes_by_its_confusion_matrix():
    circuit = Circuit(4, 3, measured=3)
    x, theta = angles(circuit, seed=0)
    confusion = torch.tensor([[0.9, 0.1], [0.1, 0.9]], dtype=torch.float64)
    expected = statevector.run(circuit, x, theta) @ reduce(torch.kron, [confusion] * 3)
    actual = run(circuit, x, theta, Noise("bit-flip", 0.0, readout_error=0.1))
    torch.testing.assert_close(actual, expected)


def test_qubits_outside_the_light_cone_cost_and_change_nothing():
    noise = Noise("amplitude-damping", 0.2)
    large, small = Circuit(30, 3, measured=2), Circuit(5, 3, measured=2)
    x, theta = angles(large, seed=0)
    actual = run(large, x, theta, noise)
    torch.testing.assert_close(actual, run(small, x[:, :5], theta[:, :5], noise))


@given(circuits(max_layers=2), seeds, st.sampled_from([1, 16]))
@examples(20)
def test_replicas_and_strengths_broadcast_as_a_loop(circuit, seed, batch):
    x, theta = angles(circuit, seed, batch, lead_x=(3,), lead_theta=(2, 1))
    strengths = torch.tensor([0.0, 0.1, 0.3], dtype=torch.float64)
    errors = torch.tensor([0.0, 0.2], dtype=torch.float64)
    actual = run(circuit, x, theta, Noise("depolarizing", strengths, readout_error=errors[:, None]))
    assert actual.shape == (2, 3, batch, circuit.outputs)
    for c, error in enumerate(errors):
        for k, strength in enumerate(strengths):
            noise = Noise("depolarizing", strength, readout_error=error)
            assert_same([actual[c, k]], [run(circuit, x[k], theta[c, 0], noise)], 1e-12)


@given(circuits(max_layers=2), seeds, st.sampled_from([1, 16]))
@examples(15)
def test_vmap_under_noise_equals_a_loop(circuit, seed, batch):
    noise = Noise("phase-damping", 0.1, readout_error=0.1)
    x, theta = angles(circuit, seed, batch, lead_x=(3,), lead_theta=(3,))
    together = with_gradients(torch.func.vmap(lambda x, t: run(circuit, x, t, noise)), x, theta)
    loop = with_gradients(
        lambda x, t: torch.stack([run(circuit, x[k], t[k], noise) for k in range(3)]), x, theta
    )
    assert_same(together, loop, 1e-12)


@pytest.mark.parametrize("features", [0, 3])
def test_features_must_fit_the_qubits_under_noise(features):
    with pytest.raises(UserError, match=f"{features} features do not fit 2 qubits"):
        run(Circuit(2, 1), torch.zeros(4, features), torch.zeros(1, 2), Noise("bit-flip", 0.1))


def test_too_many_qubits_in_a_light_cone_are_refused_before_memory_runs_out():
    circuit = Circuit(13, 2, entangler="strongly-entangling", measured=1)
    with pytest.raises(UserError, match="13 of 13 qubits bear on what is measured"):
        run(circuit, torch.zeros(1, 13), torch.zeros(2, 13, 3), Noise("bit-flip", 0.1))
