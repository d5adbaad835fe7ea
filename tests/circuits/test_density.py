from dataclasses import replace
from functools import reduce

import pennylane as qml
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from random_circuits import (
    angles,
    ansatz,
    ansatz_settings,
    assert_same,
    circuits,
    examples,
    lists,
    noisy,
    seeds,
    with_gradients,
)

from qmoe_fed.circuits import Slot, statevector, with_noise
from qmoe_fed.circuits.ansatz import layered, ring
from qmoe_fed.circuits.noise import density
from qmoe_fed.circuits.noise.placement import PLACEMENTS
from qmoe_fed.circuits.operations import CHANNELS
from qmoe_fed.circuits.statevector import run
from qmoe_fed.errors import UserError

PENNYLANE = {
    "depolarizing": qml.DepolarizingChannel,
    "amplitude-damping": qml.AmplitudeDamping,
    "phase-damping": qml.PhaseDamping,
    "bit-flip": qml.BitFlip,
}


def density_matrix(kind, x, theta, name, strength, placement, readout_error):
    """Run a noisy ansatz on PennyLane's default.mixed, every channel written out."""
    n, strongly = kind["qubits"], kind["entangler"] == "strongly-entangling"
    theta = theta.reshape(kind["layers"], n, -1)

    def gate(operation):
        if placement == "gate":
            layer_of_noise(operation.wires)

    def layer_of_noise(wires):
        for wire in wires:
            PENNYLANE[name](strength, wires=wire)

    @qml.qnode(qml.device("default.mixed", wires=n))
    def node(x, theta):
        for layer in range(kind["layers"]):
            if layer == 0 or kind["reuploading"]:
                for j in range(n):
                    angle = x[:, j % x.shape[1]]
                    gate((qml.RY if kind["embedding"] == "ry" else qml.RX)(angle, wires=j))
                if placement == "notebook":
                    layer_of_noise(range(n))
            for j in range(n):
                gate((qml.Rot if strongly else qml.RY)(*theta[layer, j], wires=j))
            if kind["entangler"] == "cz":
                for j in range(n - 1):
                    gate(qml.CZ(wires=[j, j + 1]))
            if strongly:
                for pair in ring(n, layer):
                    gate(qml.CNOT(wires=pair))
        if placement == "notebook":
            layer_of_noise(range(n))
        for j in range(n):
            qml.BitFlip(readout_error, wires=j)
        return qml.probs(wires=range(n))

    outcomes = node(x, theta).unflatten(-1, (2,) * n)
    if kind["readout"] == "probs":
        return outcomes.flatten(1).unflatten(1, (2 ** kind["measured"], -1)).sum(-1)
    return torch.stack(
        [
            (outcomes.select(j + 1, 0) - outcomes.select(j + 1, 1)).reshape(len(x), -1).sum(-1)
            for j in range(n)
        ],
        -1,
    )[:, : kind["measured"]]


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.float64, 1e-10)], ids=str
)
@pytest.mark.parametrize("placement", PLACEMENTS[:2])
@pytest.mark.parametrize("name", CHANNELS)
@given(
    kind=ansatz_settings(max_layers=3),
    seed=seeds,
    batch=st.sampled_from([1, 3, 16]),  # few samples travel forwards, many backwards
    strength=st.floats(0, 0.4),
    readout_error=st.floats(0, 0.4),
)
@examples(6)
def test_equals_the_density_matrix(
    name, placement, dtype, tolerance, kind, seed, batch, strength, readout_error
):
    circuit = noisy(ansatz(**kind), name, strength, placement, readout_error)
    x, theta = angles(circuit, seed, batch, dtype=dtype)
    noise = name, strength, placement, readout_error
    actual = with_gradients(lambda x, t: run(circuit, x, t), x, theta)
    expected = with_gradients(
        lambda x, t: density_matrix(kind, x, t, *noise), x.double(), theta.double()
    )
    assert actual[0].dtype == dtype
    assert_same(actual, expected, tolerance)


@pytest.mark.parametrize("name", CHANNELS)
@given(circuit=circuits(st.sampled_from([1, 2, 4, 5, 6, 7, 8])), seed=seeds, data=st.data())
@examples(8)
def test_without_noise_it_equals_the_state_vector(name, circuit, seed, data):
    silent = noisy(circuit, name, 0.0, data.draw(st.sampled_from(PLACEMENTS)))
    x, theta = angles(circuit, seed, batch=data.draw(st.sampled_from([1, 9])))
    none = x.new_zeros(0)
    actual = with_gradients(lambda x, t: density.run(silent, x, t, none), x, theta)
    expected = with_gradients(lambda x, t: run(circuit, x, t), x, theta)
    assert_same(actual, expected, 1e-10)


@given(lists(st.integers(1, 5), unitaries=True, embedding=True), seeds, st.sampled_from([1, 20]))
@examples(15)
def test_any_list_of_gates_equals_the_state_vector(circuit, seed, batch):
    x, theta = angles(circuit, seed, batch)
    none = x.new_zeros(0)
    actual = with_gradients(lambda x, t: density.run(circuit, x, t, none), x, theta)
    assert_same(actual, with_gradients(lambda x, t: run(circuit, x, t), x, theta), 1e-10)


@given(circuits(st.integers(5, 7), max_layers=2), seeds)
@examples(12)
def test_one_sample_alone_equals_the_same_among_many(circuit, seed):
    circuit = noisy(circuit, "amplitude-damping", 0.1, readout_error=0.05)
    x, theta = angles(circuit, seed, batch=40)
    together = run(circuit, x, theta)
    assert_same([run(circuit, x[:1], theta)], [together[:1]], 1e-12)


@pytest.mark.parametrize("placement", PLACEMENTS)
@pytest.mark.parametrize("entangler", ["cz", "none", "strongly-entangling"])
def test_full_depolarizing_leaves_the_uniform_distribution(entangler, placement):
    circuit = with_noise(layered(4, 2, 4, entangler=entangler), "depolarizing", 0.75, placement)
    outputs = run(circuit, *angles(circuit, seed=0))
    torch.testing.assert_close(outputs, torch.full_like(outputs, 1 / 16))


@pytest.mark.parametrize("channels", [["bit-flip"], ["phase-damping", "bit-flip"]])
def test_readout_error_alone_mixes_outcomes_by_its_confusion_matrix(channels):
    circuit = ansatz(4, 3, measured=3)
    x, theta = angles(circuit, seed=0)
    confusion = torch.tensor([[0.9, 0.1], [0.1, 0.9]], dtype=torch.float64)
    expected = statevector.run(circuit, x, theta) @ reduce(torch.kron, [confusion] * 3)
    silent = reduce(lambda c, name: with_noise(c, name, 0.0, "gate"), channels, circuit)
    for before in (circuit, silent):
        flipped = with_noise(before, "bit-flip", 0.1, "readout")
        torch.testing.assert_close(run(flipped, x, theta), expected)


def test_readout_errors_shrink_expectations_and_need_no_density_matrix():
    circuit = ansatz(18, 1, "expval", measured=2)
    x, theta = angles(circuit, seed=0)
    flipped = with_noise(circuit, "bit-flip", 0.1, "readout")
    torch.testing.assert_close(run(flipped, x, theta), 0.8 * run(circuit, x, theta))
    large = layered(14, 2, 14, entangler="strongly-entangling")
    x, theta = angles(large, seed=0, batch=1)
    outcomes = run(with_noise(large, "bit-flip", 0.5, "readout"), x, theta)
    torch.testing.assert_close(outcomes, torch.full_like(outcomes, 2**-14))


def test_qubits_outside_the_light_cone_cost_and_change_nothing():
    large, small = (
        with_noise(ansatz(n, 3, measured=2), "amplitude-damping", 0.2, "gate") for n in (30, 5)
    )
    x, theta = angles(large, seed=0)
    actual = run(large, x, theta)
    own = theta.view(3, 30)[:, :5].flatten()
    torch.testing.assert_close(actual, run(small, x[:, :5], own))


@given(circuits(max_layers=2), seeds, st.sampled_from([1, 16]))
@examples(10)
def test_replicas_and_strengths_broadcast_as_a_loop(circuit, seed, batch):
    slots = noisy(circuit, "depolarizing", Slot(0), readout_error=Slot(1))
    x, theta = angles(circuit, seed, batch, lead_x=(3,), lead_theta=(2, 1))
    strengths = torch.tensor([0.0, 0.1, 0.3], dtype=torch.float64)
    errors = torch.tensor([0.0, 0.2], dtype=torch.float64)
    both = torch.stack(torch.broadcast_tensors(strengths, errors[:, None]), -1)
    actual = run(slots, x, theta, both[..., : slots.strengths])  # 1 if no wire is measured
    assert actual.shape == (2, 3, batch, circuit.outputs)
    for c, error in enumerate(errors.tolist()):
        for k, strength in enumerate(strengths.tolist()):
            fixed = noisy(circuit, "depolarizing", strength, readout_error=error)
            assert_same([actual[c, k]], [run(fixed, x[k], theta[c, 0])], 1e-12)


@given(circuits(max_layers=2), seeds, st.sampled_from([1, 16]))
@examples(15)
def test_vmap_under_noise_equals_a_loop(circuit, seed, batch):
    circuit = noisy(circuit, "phase-damping", 0.1, readout_error=0.1)
    x, theta = angles(circuit, seed, batch, lead_x=(3,), lead_theta=(3,))
    together = with_gradients(torch.func.vmap(lambda x, t: run(circuit, x, t)), x, theta)
    loop = with_gradients(
        lambda x, t: torch.stack([run(circuit, x[k], t[k]) for k in range(3)]), x, theta
    )
    assert_same(together, loop, 1e-12)


@pytest.mark.parametrize("placement", PLACEMENTS)
@given(
    circuit=circuits(st.integers(1, 5), max_layers=2), seed=seeds, batch=st.sampled_from([1, 16])
)
@examples(6)
def test_vmap_over_strengths_equals_a_loop(placement, circuit, seed, batch):
    circuit = noisy(circuit, "amplitude-damping", Slot(0), placement, Slot(1))
    check_strengths_of_replicas(circuit, seed, batch)


@given(lists(noise=True, unitaries=True, embedding=True), seeds, st.sampled_from([1, 16]))
@examples(15)
def test_vmap_over_strengths_of_any_list_equals_a_loop(circuit, seed, batch):
    check_strengths_of_replicas(circuit, seed, batch)


def check_strengths_of_replicas(circuit, seed, batch):
    x, theta = angles(circuit, seed, batch, lead_x=(3,), lead_theta=(3,))
    strengths = torch.rand(3, 2, generator=torch.Generator().manual_seed(seed)).double() / 2
    strengths = strengths[:, : circuit.strengths]  # fewer if no wire is measured

    def vmapped(x, t):
        return torch.func.vmap(lambda x, t, s: run(circuit, x, t, s))(x, t, strengths)

    def loop(x, t):
        return torch.stack([run(circuit, x[k], t[k], strengths[k]) for k in range(3)])

    expected = with_gradients(loop, x, theta)
    assert_same(with_gradients(vmapped, x, theta), expected, 1e-12)
    broadcast = with_gradients(lambda x, t: run(circuit, x, t, strengths), x, theta)
    assert_same(broadcast, expected, 1e-12)


def test_features_must_fit_the_circuit_under_noise():
    circuit = with_noise(layered(2, 1, 2), "bit-flip", 0.1, "gate")
    with pytest.raises(UserError, match="1 features: the circuit reads 2"):
        run(circuit, torch.zeros(4, 1), torch.zeros(2))


def test_too_many_qubits_in_a_light_cone_are_refused_before_memory_runs_out():
    circuit = layered(13, 2, 13, entangler="strongly-entangling")
    circuit = with_noise(replace(circuit, measured=1), "bit-flip", 0.1, "gate")
    with pytest.raises(UserError, match="13 of 13 qubits bear on what is measured"):
        run(circuit, torch.zeros(1, 13), torch.zeros(circuit.parameters))
