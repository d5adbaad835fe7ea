from functools import reduce
from itertools import product

import numpy as np
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
    seeds,
    with_gradients,
)
from scipy.linalg import expm

from qmoe_fed.circuits import Circuit, engine, feature, gate, parameter
from qmoe_fed.circuits.ansatz import layered
from qmoe_fed.circuits.statevector import amplitudes, run

PAULI = {
    "x": np.array([[0, 1], [1, 0]]),
    "y": np.array([[0, -1j], [1j, 0]]),
    "z": np.array([[1, 0], [0, -1]]),
}
ONE = np.diag([0, 1])


def on(qubits, maps):
    """Return the 2^n × 2^n matrix with ``maps[j]`` on qubit j and identities elsewhere."""
    return reduce(np.kron, [maps.get(j, np.eye(2)) for j in range(qubits)])


def controlled(qubits, control, target, pauli):
    return on(qubits, {}) + on(qubits, {control: ONE, target: PAULI[pauli] - np.eye(2)})


def plain(kind, x, theta):
    """Simulate one sample gate by gate, the last layer of CZ included."""
    n, strongly = kind["qubits"], kind["entangler"] == "strongly-entangling"
    theta = theta.reshape(kind["layers"], n, -1)
    state = np.eye(2**n)[0]

    def turn(axis, angle, j):
        return on(n, {j: expm(-0.5j * float(angle) * PAULI[axis])}) @ state

    for layer in range(kind["layers"]):
        for j in range(n):
            if layer == 0 or kind["reuploading"]:
                state = turn(kind["embedding"][1], x[j % len(x)], j)
        for j in range(n):
            for axis, angle in zip("zyz" if strongly else "y", theta[layer, j], strict=True):
                state = turn(axis, angle, j)
        if kind["entangler"] == "cz":
            for j in range(n - 1):
                state = controlled(n, j, j + 1, "z") @ state
        if strongly and n > 1:
            for j in range(n):
                state = controlled(n, j, (j + layer % (n - 1) + 1) % n, "x") @ state

    if kind["readout"] == "expval":
        signs = [on(n, {j: PAULI["z"]}) for j in range(kind["measured"])]
        return [(state.conj() @ z @ state).real for z in signs]
    outcomes = product((0, 1), repeat=kind["measured"])
    projectors = [on(n, {j: np.diag([1 - b, b]) for j, b in enumerate(bits)}) for bits in outcomes]
    return [(state.conj() @ p @ state).real for p in projectors]


@given(ansatz_settings(), seeds)
@examples(50)
def test_equals_the_product_of_all_gates(kind, seed):
    circuit = ansatz(**kind)
    x, theta = angles(circuit, seed, 2)
    expected = [plain(kind, sample, theta) for sample in x]
    assert_same([run(circuit, x, theta)], [torch.tensor(expected).reshape(2, -1)], 1e-12)


@given(circuits(st.integers(1, 6)), seeds, st.integers(1, 40))
@examples(40)
def test_probabilities_are_a_distribution(circuit, seed, batch):
    outputs = run(circuit, *angles(circuit, seed, batch))
    assert outputs.shape == (batch, circuit.outputs)
    if circuit.readout == "probs":
        assert outputs.min() >= 0
        torch.testing.assert_close(outputs.sum(-1), torch.ones(batch).double())
    elif circuit.measured:
        assert outputs.abs().max() <= 1 + 1e-12


@given(circuits(st.integers(1, 3), max_layers=3), seeds, st.integers(1, 10))
@examples(25)
def test_gradients_equal_finite_differences(circuit, seed, batch):
    x, theta = (a.requires_grad_() for a in angles(circuit, seed, batch))
    assert torch.autograd.gradcheck(lambda x, theta: run(circuit, x, theta), (x, theta))


@pytest.mark.parametrize("reuploading", [False, True])
@pytest.mark.parametrize("entangler", ["cz", "none", "strongly-entangling"])
@pytest.mark.parametrize("embedding", ["ry", "rx"])
def test_all_angles_zero_leave_every_qubit_zero(embedding, entangler, reuploading):
    circuit = layered(3, 3, 3, embedding, entangler, reuploading)
    outputs = run(circuit, torch.zeros(2, 3), torch.zeros(circuit.parameters))
    torch.testing.assert_close(outputs, torch.eye(8)[[0, 0]])


@pytest.mark.parametrize("entangler", ["cz", "none"])
@pytest.mark.parametrize("embedding", ["ry", "rx"])
@pytest.mark.parametrize("reuploading", [False, True])  # three flips are one
def test_a_feature_of_pi_flips_its_qubit(embedding, entangler, reuploading):
    circuit = layered(3, 3, 3, embedding, entangler, reuploading)
    bits = torch.tensor(list(product((0.0, 1.0), repeat=3)))
    outputs = run(circuit, torch.pi * bits, torch.zeros(9))
    torch.testing.assert_close(outputs, torch.eye(8), atol=1e-6, rtol=0)


@pytest.mark.parametrize("reuploading", [False, True])
def test_without_an_entangler_qubits_are_independent(reuploading):
    circuit = layered(4, 3, 4, entangler="none", reuploading=reuploading)
    x, theta = angles(circuit, seed=1)
    total = x * (3 if reuploading else 1) + theta.view(3, 4).sum(0)
    single = torch.stack([(total / 2).cos() ** 2, (total / 2).sin() ** 2], -1)  # (B, 4, 2)
    joint = torch.einsum("ba,bc,bd,be->bacde", *single.unbind(1)).flatten(1)
    torch.testing.assert_close(run(circuit, x, theta), joint)


@pytest.mark.parametrize("entangler", ["cz", "strongly-entangling"])
@pytest.mark.parametrize(
    ("qubits", "layers", "reuploading", "dimension"),
    [(2, 3, False, 9), (3, 3, False, 27), (2, 3, True, 49)],
)
def test_outputs_span_one_constant_sine_and_cosine_per_qubit_and_frequency(
    qubits, layers, reuploading, dimension, entangler
):
    # (2R + 1)^n functions for R uploads: Schuld, Sweke & Meyer, 2021
    circuit = layered(qubits, layers, qubits, entangler=entangler, reuploading=reuploading)
    x, _ = angles(circuit, seed=0, batch=200)
    _, theta = angles(circuit, seed=1, lead_theta=(100,))
    functions = run(circuit, x, theta).movedim(1, 0).flatten(1)
    assert torch.linalg.matrix_rank(functions, rtol=1e-9) == dimension


@given(circuits(), seeds, st.sampled_from([1, 2, 20]))
@examples(30)
def test_leading_dimensions_broadcast_as_a_loop(circuit, seed, batch):
    x, theta = angles(circuit, seed, batch, lead_x=(3,), lead_theta=(2, 1))
    loop = [[run(circuit, x[k], theta[c, 0]) for k in range(3)] for c in range(2)]
    expected = torch.stack([torch.stack(row) for row in loop])
    assert_same([run(circuit, x, theta)], [expected], 1e-12)


def check_vmap(circuit, seed, batch):
    x, theta = angles(circuit, seed, batch, lead_x=(3,), lead_theta=(3,))
    together = with_gradients(torch.func.vmap(lambda x, t: run(circuit, x, t)), x, theta)
    loop = with_gradients(
        lambda x, t: torch.stack([run(circuit, x[k], t[k]) for k in range(3)]), x, theta
    )
    assert_same(together, loop, 1e-12)


@given(circuits(), seeds, st.sampled_from([2, 20]))
@examples(30)
def test_vmap_over_features_and_parameters_equals_a_loop(circuit, seed, batch):
    check_vmap(circuit, seed, batch)


@given(lists(unitaries=True, embedding=True), seeds, st.sampled_from([1, 20]))
@examples(20)
def test_vmap_over_any_list_equals_a_loop(circuit, seed, batch):
    check_vmap(circuit, seed, batch)


@pytest.mark.parametrize("batch", [2, 20])
@pytest.mark.parametrize("qubits", [2, 5])
@pytest.mark.parametrize("reuploading", [False, True])
@pytest.mark.parametrize("entangler", ["cz", "none", "strongly-entangling"])
@pytest.mark.parametrize("embedding", ["ry", "rx"])
def test_vmap_of_every_ansatz_equals_a_loop(embedding, entangler, reuploading, qubits, batch):
    check_vmap(layered(qubits, 3, qubits, embedding, entangler, reuploading), 0, batch)


def test_vmap_of_grad_equals_a_loop():
    circuit = layered(3, 2, 3, entangler="strongly-entangling")
    x, theta = angles(circuit, seed=3, lead_x=(4,), lead_theta=(4,))
    gradient = torch.func.grad(lambda t, x: run(circuit, x, t)[:, 0].log().mean())
    loop = torch.stack([gradient(theta[k], x[k]) for k in range(4)])
    torch.testing.assert_close(torch.func.vmap(gradient)(theta, x), loop)


@pytest.mark.parametrize("features", [1, 2, 3])
def test_fewer_features_than_qubits_repeat_in_order(features):
    circuit, whole = (layered(5, 2, d, reuploading=True) for d in (features, 5))
    x, theta = angles(circuit, seed=0)
    repeated = x.repeat(1, 5)[:, :5]
    torch.testing.assert_close(run(circuit, x, theta), run(whole, repeated, theta))


def test_features_that_the_circuit_does_not_name_are_not_used():
    circuit = layered(3, 2, 2)
    x, theta = angles(layered(3, 2, 3), seed=0)
    torch.testing.assert_close(run(circuit, x, theta), run(circuit, x[:, :2], theta))


@pytest.mark.parametrize("entangler", ["cz", "none", "strongly-entangling"])
@pytest.mark.parametrize("reuploading", [False, True])
def test_fewer_layers_are_a_prefix_of_more(entangler, reuploading):
    deep, shallow = (
        layered(3, depth, 3, entangler=entangler, reuploading=reuploading) for depth in (4, 2)
    )
    assert deep.operations[: len(shallow.operations)] == shallow.operations
    x, theta = angles(deep, seed=0)
    prefix = theta[: shallow.parameters].clone().requires_grad_()
    theta = theta.requires_grad_()
    (whole,) = torch.autograd.grad(run(shallow, x, theta[: shallow.parameters])[:, 0].sum(), theta)
    (part,) = torch.autograd.grad(run(shallow, x, prefix)[:, 0].sum(), prefix)
    assert_same([whole[: len(part)], whole[len(part) :]], [part, 0 * whole[len(part) :]], 1e-12)


@pytest.mark.parametrize(
    ("kind", "is_complex"),
    [({}, False), ({"embedding": "rx"}, True), ({"entangler": "strongly-entangling"}, True)],
    ids=str,
)
def test_only_ry_and_cz_keep_amplitudes_real(kind, is_complex):
    circuit = layered(2, 1, 2, **kind)
    assert amplitudes(circuit, *angles(circuit, seed=0)).is_complex() == is_complex


@given(lists(unitaries=True, embedding=True), seeds)
@examples(20)
def test_the_engine_of_that_name_is_this_one(circuit, seed):
    x, theta = angles(circuit, seed)
    assert_same([engine("statevector")(circuit, x, theta, None)], [run(circuit, x, theta)], 0)


def test_an_angle_may_be_a_sum_and_a_parameter_stand_in_several():
    turns = [gate("RY", 0, 2 * parameter(0) + feature(0)), gate("RY", 0, 0.5 - parameter(0))]
    circuit = Circuit(1, tuple(turns))
    x, theta = torch.tensor([[0.4]]), torch.tensor([0.3])
    half = torch.tensor((0.4 + 2 * 0.3 + 0.5 - 0.3) / 2)
    expected = torch.stack([half.cos() ** 2, half.sin() ** 2])
    torch.testing.assert_close(run(circuit, x, theta)[0], expected)
