"""The fast method for real circuits against the general one."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from qmoe_fed.circuits import Circuit, kronecker, rotating_frame


@given(
    qubits=st.integers(1, rotating_frame.MOST_QUBITS),
    layers=st.integers(1, 4),
    entangler=st.sampled_from(["cz", "none"]),
    reuploading=st.booleans(),
    seed=st.integers(0, 1000),
)
@settings(max_examples=30, deadline=None)
def test_amplitudes_and_gradients_equal_the_general_method(
    qubits, layers, entangler, reuploading, seed
):
    circuit = Circuit(qubits, layers, entangler=entangler, reuploading=reuploading)
    generator = torch.Generator().manual_seed(seed)
    x = torch.rand(2, 3, qubits, generator=generator, dtype=torch.float64) * 6
    theta = torch.rand(2, layers, qubits, generator=generator, dtype=torch.float64) * 6
    cotangent = torch.rand(2, 3, 2**qubits, generator=generator, dtype=torch.float64)
    results = []
    methods = [kronecker.amplitudes, rotating_frame.by_phases]
    if qubits <= rotating_frame.MULTIPLIED_OUT and not reuploading:
        methods.append(rotating_frame.multiplied_out)
    for method in methods:
        inputs = x.clone().requires_grad_(), theta.clone().requires_grad_()
        psi = method(circuit, *inputs)
        results.append((psi, *torch.autograd.grad((psi * cotangent).sum(), inputs)))
    slow, *others = results
    for fast in others:
        for actual, expected in zip(fast, slow, strict=True):
            torch.testing.assert_close(actual, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("reuploading", [False, True])
def test_constants_outlive_the_transform_that_first_asks_for_them(reuploading):
    circuit = Circuit(3, 2, reuploading=reuploading)
    x, theta = torch.rand(4, 3), torch.rand(2, 3)

    def loss(theta):
        return rotating_frame.amplitudes(circuit, x, theta)[:, 0].square().sum()

    rotating_frame._kept.cache_clear()
    with torch.inference_mode():
        loss(theta)
    by_transform = torch.func.grad(loss)(theta)
    theta.requires_grad_()
    (by_tape,) = torch.autograd.grad(loss(theta), theta)
    torch.testing.assert_close(by_tape, by_transform)


@pytest.mark.parametrize("qubits", [1, 2, 5])
def test_the_basis_is_orthogonal_and_makes_ry_a_phase(qubits):
    basis = rotating_frame._basis(qubits)
    np.testing.assert_allclose(basis @ basis.T, np.eye(2**qubits), atol=1e-14)
    angles = np.linspace(0.3, 2.0, qubits)
    layer = np.ones((1, 1))
    for a in angles:
        c, s = np.cos(a / 2), np.sin(a / 2)
        layer = np.kron(layer, [[c, -s], [s, c]])
    in_frame = basis @ layer @ basis.T
    phases = np.exp(1j * (angles @ rotating_frame._frequencies(qubits)))
    for k, phase in enumerate(phases):
        block = in_frame[2 * k : 2 * k + 2, 2 * k : 2 * k + 2]
        expected = [[phase.real, -phase.imag], [phase.imag, phase.real]]
        np.testing.assert_allclose(block, expected, atol=1e-14)
        in_frame[2 * k : 2 * k + 2, 2 * k : 2 * k + 2] = 0
    np.testing.assert_allclose(in_frame, 0, atol=1e-14)
