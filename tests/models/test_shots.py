"""Finite shots: what is drawn, from which key, and gradients by parameter shift."""

import numpy as np
import pytest
import torch
from torch.func import functional_call, vmap

from qmoe_fed.circuits import (
    Circuit,
    Slot,
    amplitude_embedding,
    channel,
    engine,
    feature,
    gate,
    parameter,
    statevector,
    unitary,
    with_noise,
)
from qmoe_fed.circuits.ansatz import layered
from qmoe_fed.config import ModelConfig
from qmoe_fed.errors import UserError
from qmoe_fed.models import QuantumRouter, build_model, draw_keys
from qmoe_fed.models.quantum import Running
from qmoe_fed.models.shifts import shifts
from qmoe_fed.models.shots import STEP, Shots

ANSATZ = layered(2, 2, 2, entangler="strongly-entangling")
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


def inputs(circuit, lead=(), batch=3, seed=0):
    generator = torch.Generator().manual_seed(seed)

    def rand(*shape):
        return torch.rand(shape, generator=generator, dtype=torch.float64)

    theta = 6 * rand(*lead, circuit.parameters)
    return 3 * rand(*lead, batch, circuit.features), theta, rand(*lead, circuit.strengths) / 2


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


def router(shots=100, shot_gradients="parameter-shift", circuit=ANSATZ, readout="probs"):
    running = Running(shots=shots, shot_gradients=shot_gradients)
    return QuantumRouter(circuit, 4, readout, running=running)


def replicas(module, x, parameters, execution):
    """Return weights of all replicas, and a gradient of theirs."""
    theta = parameters["theta"].clone().requires_grad_()
    own = {**parameters, "theta": theta}
    if execution == "vmap":
        weights = vmap(lambda p, x: functional_call(module, p, x))(own, x)
    else:
        rows = [{n: v[k] for n, v in own.items()} for k in range(len(x))]
        weights = torch.stack([functional_call(module, r, x[k]) for k, r in enumerate(rows)])
    scores = torch.linspace(-1, 1, weights[0].numel()).double().view(weights[0].shape)
    return weights, torch.autograd.grad((weights * scores).sum(), theta)[0]


@pytest.mark.parametrize("noise", [False, True])
@pytest.mark.parametrize("readout", ["probs", "expval-adapter"])
def test_replicas_together_draw_what_they_draw_alone(readout, noise):
    circuit = ANSATZ
    if noise:
        circuit = with_noise(ANSATZ, "depolarizing", Slot(0), "gate")
        circuit = with_noise(circuit, "bit-flip", Slot(1), "readout")
    module = router(circuit=circuit, readout=readout).double()
    x, theta, strengths = inputs(circuit, lead=(5,), batch=6)
    parameters = {"theta": theta, "draw": draw_keys(1, range(5), 2, 3)}
    if noise:
        parameters["strengths"] = strengths
    together = replicas(module, x, parameters, "vmap")
    alone = replicas(module, x, parameters, "serial")
    torch.testing.assert_close(together, alone, atol=1e-12, rtol=0)
    again = replicas(module, x, parameters, "vmap")
    torch.testing.assert_close(again, together, atol=0, rtol=0)
    other = replicas(module, x, {**parameters, "draw": draw_keys(1, range(5), 2, 4)}, "vmap")
    assert not torch.allclose(other[0], together[0])
    assert not torch.allclose(other[1], together[1])


def test_draws_do_not_depend_on_the_samples_that_follow():
    module = router().double()
    x, theta, _ = inputs(ANSATZ, lead=(2,), batch=6)
    parameters = {"theta": theta, "draw": draw_keys(0, range(2))}
    weights, _ = replicas(module, x, parameters, "vmap")
    fewer, _ = replicas(module, x[:, :4], parameters, "vmap")
    torch.testing.assert_close(fewer, weights[:, :4], atol=0, rtol=0)

    def first_samples(x):
        own = parameters["theta"].clone().requires_grad_()
        found = vmap(lambda p, x: functional_call(module, p, x))({**parameters, "theta": own}, x)
        return torch.autograd.grad(found[:, :4, 0].sum(), own)[0]

    torch.testing.assert_close(first_samples(x), first_samples(x[:, :4]), atol=1e-12, rtol=0)


def test_keys_depend_on_seed_client_round_and_step_only():
    keys = draw_keys(3, range(1000), 2, 5)
    assert keys.dtype == torch.int64
    assert keys.min() >= 0
    assert len(keys.unique()) == 1000
    assert draw_keys(3, [7], 2, 5) == keys[7]
    for other in (draw_keys(4, [7], 2, 5), draw_keys(3, [7], 1, 5), draw_keys(3, [7], 2, -1)):
        assert other != keys[7]


def test_exact_gradients_train_on_exact_probabilities_and_draw_in_evaluation():
    module, exact = router(shot_gradients="exact"), QuantumRouter(ANSATZ, 4)
    module.theta.data = exact.theta.data = torch.rand(ANSATZ.parameters)
    x = torch.rand(5, 2)
    torch.testing.assert_close(module(x), exact(x), atol=0, rtol=0)
    module.eval()
    module.draw = torch.tensor(8)
    drawn = module(x)
    assert not torch.allclose(drawn, exact(x))
    torch.testing.assert_close((drawn * 100).round(), drawn * 100)


def test_many_shots_come_close():
    module, exact = router(shots=10**6), QuantumRouter(ANSATZ, 4)
    module.theta.data = exact.theta.data = torch.rand(ANSATZ.parameters)
    module.draw = torch.tensor(0)
    x = torch.rand(5, 2)
    torch.testing.assert_close(module(x), exact(x), atol=3e-3, rtol=0)


def test_without_shots_nothing_is_added():
    module = QuantumRouter(ANSATZ, 4)
    assert not module.shots
    assert not dict(module.named_buffers())
    assert "draw" not in router().state_dict()


def test_a_replica_that_diverged_leaves_the_others_alone():
    module = router().double()
    x, theta, _ = inputs(ANSATZ, lead=(3,))
    parameters = {"theta": theta, "draw": draw_keys(0, range(3))}
    sound = replicas(module, x, parameters, "vmap")
    theta[1] = torch.nan
    broken = replicas(module, x, parameters, "vmap")
    for a, b in zip(sound, broken, strict=True):
        assert b[1].isnan().all()
        torch.testing.assert_close(a[[0, 2]], b[[0, 2]])


def test_any_engine_can_be_sampled_side_by_side():
    x, theta, _ = inputs(ANSATZ, lead=(3,))
    keys = draw_keys(0, range(3))
    ours, theirs = (
        vmap(Shots(ANSATZ, engine(name), 1000), in_dims=(0, 0, None, 0))(x, theta, None, keys)
        for name in ("statevector", "pennylane:default.qubit")
    )
    torch.testing.assert_close(ours, theirs, atol=1e-9, rtol=0)


def test_settings_reach_the_router():
    config = ModelConfig(shots=64, shot_gradients="parameter-shift", readout_error=0.1)
    module = build_model(config, 2, 2).router
    (shots,) = module.shots.values()
    assert shots.number == 64
    assert module.training_draws
    assert not build_model(ModelConfig(), 2, 2).router.shots


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: router(shots=-1), "shots = -1: must be 0"),
        (lambda: router(shot_gradients="shift"), "unknown shot-gradients 'shift'.*parameter-shift"),
        (
            lambda: router(
                circuit=Circuit(2, (amplitude_embedding(1.0, parameter(0), wires=(0, 1)),))
            ),
            r"amplitude-embedding on wires \(0, 1\): its parameters have no parameter-shift rule",
        ),
    ],
)
def test_routers_that_cannot_be_sampled_are_refused(make, message):
    with pytest.raises(UserError, match=message):
        make()


def test_a_key_must_be_given():
    with pytest.raises(ValueError, match="no key for the draws"):
        router()(torch.rand(3, 2))
