"""Few qubits as constant matrices and phases, or multiplied out, against the other forms."""

from dataclasses import replace
from functools import reduce

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from random_circuits import REAL, angles, assert_same, examples, lists, seeds, with_gradients

from qmoe_fed.circuits import Circuit, gate, general, kronecker, parameter
from qmoe_fed.circuits.ansatz import layered
from qmoe_fed.circuits.schedule import pure
from qmoe_fed.circuits.statevector import run
from qmoe_fed.circuits.whole import MOST_QUBITS, MOST_QUBITS_BY_PHASES, Whole, of_part


def whole(circuit, form, phases):
    """Return a function of x and θ that gives the state."""
    made = Whole(pure(circuit), form, phases)
    return lambda x, theta: made(x, theta, x)


@given(
    qubits=st.integers(1, MOST_QUBITS_BY_PHASES),
    layers=st.integers(1, 4),
    entangler=st.sampled_from(["cz", "none"]),
    reuploading=st.booleans(),
    seed=seeds,
)
@examples(30)
def test_amplitudes_and_gradients_equal_the_general_method(
    qubits, layers, entangler, reuploading, seed
):
    circuit = layered(qubits, layers, qubits, entangler=entangler, reuploading=reuploading)
    inputs = angles(circuit, seed, lead_x=(2,), lead_theta=(2,))
    methods = [whole(circuit, "real", True)]
    if qubits <= MOST_QUBITS["real"]:
        methods.append(whole(circuit, "real", False))
    slow = with_gradients(lambda x, t: kronecker.amplitudes(pure(circuit), x, t).square(), *inputs)
    for fast in methods:
        squares = with_gradients(lambda x, t, fast=fast: fast(x, t).square(), *inputs)
        assert_same(squares, slow, 1e-12)


@pytest.mark.parametrize("reuploading", [False, True])
@pytest.mark.parametrize("qubits", [2, 4, 6, 9])
def test_angles_without_effect_have_no_gradient_at_all(qubits, reuploading):
    circuit = layered(qubits, 3, qubits, reuploading=reuploading)
    circuit = replace(circuit, measured=1)
    x, theta = angles(circuit, seed=0, dtype=torch.float32)
    _, _, gradient = with_gradients(lambda x, t: run(circuit, x, t), x, theta)
    felt = torch.tensor([[j < width for j in range(qubits)] for width in (3, 2, 1)])
    assert (gradient.view(3, qubits) != 0).equal(felt)


@given(lists(st.integers(1, 6), gates=REAL, most=16), st.sampled_from([1, 20]), seeds)
@examples(25)
def test_lists_of_ry_and_cz_equal_gate_after_gate(circuit, batch, seed):
    fast = of_part(pure(circuit))
    x, theta = angles(circuit, seed, batch)

    def probabilities(method):
        return lambda x, t: method(x, t).square().expand(*x.shape[:-1], -1)

    slow, quick = (
        with_gradients(probabilities(method), x, theta)
        for method in (
            lambda x, t: general.amplitudes(pure(circuit), x, t),
            lambda x, t: fast(x, t, x),
        )
    )
    assert_same(quick, slow, 1e-10)


@given(lists(st.integers(1, MOST_QUBITS["stacked"]), unitaries=True, most=10), seeds)
@examples(25)
def test_complex_amplitudes_may_stand_as_pairs_of_real_ones(circuit, seed):
    x, theta = angles(circuit, seed)
    pairs = whole(circuit, "stacked", False)(x, theta).unflatten(-1, (-1, 2))
    expected = general.amplitudes(pure(circuit), x, theta).abs()
    torch.testing.assert_close(*torch.broadcast_tensors(pairs.norm(dim=-1), expected))


UNUSED = 0.123456  # in circuits of no other test: nothing is prepared for them yet


@pytest.mark.parametrize("kind", [{}, {"reuploading": True}, {"entangler": "strongly-entangling"}])
@pytest.mark.parametrize("extra", [None, gate("CRX", (0, 1), UNUSED)])
def test_constants_outlive_the_transform_that_first_asks_for_them(kind, extra):
    layers = layered(3, 2, 3, **kind)
    operations = (*layers.operations, *([extra] if extra else [gate("RY", 0, UNUSED)]))
    circuit = Circuit(3, operations)
    x, theta = torch.rand(4, 3), torch.rand(circuit.parameters)

    def loss(theta):
        return run(circuit, x, theta)[:, 0].square().sum()

    with torch.inference_mode():
        loss(theta)
    by_transform = torch.func.grad(loss)(theta)
    theta.requires_grad_()
    (by_tape,) = torch.autograd.grad(loss(theta), theta)
    torch.testing.assert_close(by_tape, by_transform)


@pytest.mark.parametrize("qubits", [1, 2, 5])
def test_a_layer_of_ry_turns_every_qubit_by_half_its_angle(qubits):
    values = np.linspace(0.3, 2.0, qubits)
    circuit = Circuit(qubits, tuple(gate("RY", j, parameter(j)) for j in range(qubits)))
    turned = [[np.cos(a / 2), np.sin(a / 2)] for a in values]
    none = torch.zeros(1, 0, dtype=torch.float64)
    psi = whole(circuit, "real", True)(none, torch.from_numpy(values))
    np.testing.assert_allclose(psi[0], reduce(np.kron, turned), atol=1e-14)
