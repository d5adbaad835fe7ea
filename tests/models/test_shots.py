"""Routers with finite shots: what is drawn, from which key, and by whom."""

import pytest
import torch
from shot_inputs import ANSATZ, inputs
from torch.func import functional_call, vmap

from qmoe_fed.circuits import (
    Circuit,
    Slot,
    amplitude_embedding,
    engine,
    parameter,
    with_noise,
)
from qmoe_fed.config import ModelConfig
from qmoe_fed.errors import UserError
from qmoe_fed.models import QuantumRouter, build_model, draw_keys
from qmoe_fed.models.quantum import Running
from qmoe_fed.models.shots import Shots


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
