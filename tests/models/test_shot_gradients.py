"""Finite shots: estimates of one circuit, and their gradients by parameter shift and SPSA."""

import numpy as np
import pytest
import torch
from shot_inputs import ANSATZ, inputs

from qmoe_fed.circuits import (
    Circuit,
    Slot,
    amplitude_embedding,
    channel,
    feature,
    gate,
    parameter,
    statevector,
    unitary,
)
from qmoe_fed.circuits.ansatz import layered
from qmoe_fed.models import draw_keys
from qmoe_fed.models.shifts import shifts
from qmoe_fed.models.shots import STEP, Shots

EVERY_GATE = (
    *(gate(name, 0, 2 * parameter(0) - 0.5 * parameter(1) + feature(0)) for name in ("RX", "RZ")),
    gate("H", 1),
    gate("RY", 1, parameter(1) + 0.3),
    gate("Rot", 2, parameter(2), feature(1), parameter(0) - parameter(3)),
    *(gate(name, (0, 2), parameter(3) + 1.5 * parameter(2)) for name in ("CRX", "CRY", "CRZ")),
    *(gate(name, (2, 1)) for name in ("CZ", "CNOT", "SWAP")),
    gate("CRY", (1, 0), -2 * parameter(4)),
    unitary([[0, 1j], [1, 0]], 1),
    gate("CRX", (1, 2), feature(0)),
    *(gate("RY", j, parameter(4)) for j in range(3)),
)
STARTED = gate("RY", 0, 1.0), gate("RY", 1, 0.7)
CHANNELS = channel("amplitude-damping", 2, Slot(0)), gate("RX", 2, parameter(4))


def gradient(run, theta, weights):
    theta = theta.clone().requires_grad_()
    (found,) = torch.autograd.grad((run(theta) * weights).sum(), theta)
    return found


@pytest.mark.parametrize("readout", ["probs", "expval"])
@pytest.mark.parametrize(
    "circuit",
    [
        ANSATZ,
        layered(3, 2, 3, reuploading=True),
        Circuit(3, EVERY_GATE),
        Circuit(3, EVERY_GATE + CHANNELS),
        Circuit(3, (amplitude_embedding(feature(0), 1.0, wires=(0, 1)), *EVERY_GATE)),
        *(
            Circuit(2, (*STARTED, gate(name, (0, 1)[: 1 + controlled], *angles)))
            for name, controlled, angles in [
                ("RX", 0, [0.4 + parameter(0)]),
                ("RY", 0, [parameter(0)]),
                ("CRX", 1, [parameter(0)]),
                ("CRY", 1, [3 * parameter(0)]),
            ]
        ),
    ],
)
def test_parameter_shift_of_exact_probabilities_equals_autograd(circuit, readout):
    circuit = Circuit(circuit.qubits, circuit.operations, readout, min(2, circuit.qubits))
    x, theta, strengths = inputs(circuit)
    weights = torch.linspace(-1, 1, 3 * circuit.outputs).double().view(3, -1)
    exact = Shots(circuit, statevector.run, 0)
    draw = torch.tensor(0)
    shifted = gradient(lambda t: exact(x, t, strengths, draw), theta, weights)
    expected = gradient(lambda t: statevector.run(circuit, x, t, strengths), theta, weights)
    torch.testing.assert_close(shifted, expected, atol=1e-10, rtol=0)
    assert expected.abs().max() > 1e-3


def test_controlled_rotations_take_four_circuits_and_others_two():
    circuit = Circuit(2, (gate("RX", 0, parameter(0)), gate("CRX", (0, 1), parameter(0))))
    shifted, offsets, shares = shifts(circuit)
    assert (shifted.parameters, offsets.shape, shares.shape) == (3, (2 + 4, 2), (6, 1))
    np.testing.assert_allclose(shares.sum(), 0, atol=1e-15)
    assert shifts(Circuit(1, (gate("RX", 0, feature(0)),)))[1].shape == (0, 0)


@pytest.mark.parametrize("readout", ["probs", "expval"])
def test_estimates_have_the_mean_and_variance_of_so_many_measurements(readout):
    circuit = Circuit(2, ANSATZ.operations, readout)
    x, theta, _ = inputs(circuit, batch=1)
    shots, repeats = 20, 4000
    estimates = Shots(circuit, statevector.run, shots)(
        x.expand(repeats, -1), theta, None, torch.tensor(5)
    )
    exact = statevector.run(circuit, x, theta)[0]
    variance = exact * (1 - exact) if readout == "probs" else 1 - exact**2
    error = (variance / shots / repeats).sqrt()
    assert ((estimates.mean(0) - exact).abs() < 4 * error).all()
    torch.testing.assert_close(estimates.var(0), variance / shots, atol=0, rtol=0.1)
    if readout == "probs":
        torch.testing.assert_close(estimates.sum(-1), torch.ones(repeats).double())
        torch.testing.assert_close((estimates * shots).round(), estimates * shots)
        covariance = torch.cov(estimates.T)[0, 1]
        expected = -exact[0] * exact[1] / shots
        torch.testing.assert_close(covariance, expected, atol=4e-4, rtol=0.1)


def test_sampled_gradients_are_right_on_average():
    circuit = layered(2, 1, 2, reuploading=True)
    x, theta, _ = inputs(circuit, batch=2)
    keys = draw_keys(0, range(2000))
    weights = torch.tensor([[1.0, 0, -1, 2], [0.5, 1, 0, 0]]).double()
    shots = Shots(circuit, statevector.run, 50)
    thetas = theta.expand(len(keys), -1)
    found = gradient(lambda t: shots(x, t, None, keys), thetas, weights)
    expected = gradient(lambda t: statevector.run(circuit, x, t), theta, weights)
    error = found.std(0) / len(keys) ** 0.5
    assert error.max() < 0.01
    assert ((found.mean(0) - expected).abs() < 4 * error).all()


@pytest.mark.parametrize("readout", ["probs", "expval"])
def test_spsa_of_one_angle_is_its_derivative_but_for_the_step(readout):
    circuit = Circuit(2, (*STARTED, gate("RY", 0, parameter(0)), gate("CZ", (0, 1))), readout)
    x, theta, _ = inputs(circuit)
    weights = torch.linspace(-1, 1, 3 * circuit.outputs).double().view(3, -1)
    exact = Shots(circuit, statevector.run, 0, spsa=True)
    found = gradient(lambda t: exact(x, t, None, torch.tensor(4)), theta, weights)
    expected = gradient(lambda t: statevector.run(circuit, x, t), theta, weights)
    torch.testing.assert_close(found, expected * np.sin(STEP) / STEP, atol=1e-12, rtol=0)


def test_spsa_takes_two_circuits_and_points_along_the_gradient_on_average():
    x, theta, _ = inputs(ANSATZ, batch=2)
    keys, taken = draw_keys(1, range(3000)), []

    def run(circuit, x, theta, strengths):
        taken.append(theta.shape)
        return statevector.run(circuit, x, theta, strengths)

    weights = torch.tensor([[1.0, 0, -1, 2], [0.5, 1, 0, 0]]).double()
    shots = Shots(ANSATZ, run, 200, spsa=True)
    found = gradient(lambda t: shots(x, t, None, keys), theta.expand(len(keys), -1), weights)
    assert taken == [(3000, 12), (2, 3000, 12)]
    expected = gradient(lambda t: statevector.run(ANSATZ, x, t), theta, weights)
    error = found.std(0) / len(keys) ** 0.5
    mean = found.mean(0)
    assert ((mean - expected).abs() < 4 * error + 0.15 * expected.abs().max()).all()
    assert torch.cosine_similarity(mean, expected, dim=0) > 0.98
    alone = gradient(lambda t: shots(x, t, None, keys[7:8]), theta[None], weights)
    torch.testing.assert_close(alone[0], found[7], atol=1e-12, rtol=0)
