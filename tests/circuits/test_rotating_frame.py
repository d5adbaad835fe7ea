"""The fast method for real circuits against the general ones."""

from functools import reduce

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from random_circuits import REAL, angles, assert_same, examples, lists, seeds, with_gradients

from qmoe_fed.circuits import Circuit, gate, general, kronecker, parameter, rotating_frame
from qmoe_fed.circuits.ansatz import layered
from qmoe_fed.circuits.statevector import run


@given(
    qubits=st.integers(1, rotating_frame.MOST_QUBITS),
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
    methods = [kronecker.amplitudes, rotating_frame.amplitudes, rotating_frame.by_phases]
    slow, *others = (with_gradients(lambda x, t, m=m: m(circuit, x, t), *inputs) for m in methods)
    for fast in others:
        assert_same(fast, slow, 1e-12)


@given(lists(st.integers(1, 6), gates=REAL, most=16), st.sampled_from([1, 20]), seeds)
@examples(25)
def test_lists_of_ry_and_cz_equal_gate_after_gate(circuit, batch, seed):
    assert rotating_frame.fits(circuit)
    x, theta = angles(circuit, seed, batch)

    def probabilities(method):
        return lambda x, t: method.amplitudes(circuit, x, t).square().expand(*x.shape[:-1], -1)

    slow, fast = (
        with_gradients(probabilities(method), x, theta) for method in (general, rotating_frame)
    )
    assert_same(fast, slow, 1e-10)


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
    psi = rotating_frame.amplitudes(circuit, none, torch.from_numpy(values))
    np.testing.assert_allclose(psi[0], reduce(np.kron, turned), atol=1e-14)
