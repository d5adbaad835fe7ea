"""Models whose circuits are mitigated: as the wrappers around engines do it, exact and by shots."""

import pytest
import torch
from torch.func import functional_call, vmap

from qmoe_fed.circuits import Slot, engine, statevector
from qmoe_fed.circuits.noise.mitigation import extrapolated, fold, without_readout_errors
from qmoe_fed.config import ModelConfig
from qmoe_fed.errors import UserError
from qmoe_fed.models import build_model, draw_keys, initial_parameters
from qmoe_fed.models.quantum import MOST_DRAWING
from qmoe_fed.models.shots import Shots

NOISE = {"noise_channel": "amplitude-damping", "noise_strength": "uniform(0, 0.2)", "layers": 1}
BOTH = {**NOISE, "readout_error": 0.1, "expert": "quantum", "expert_options": "layers = 1"}
METHODS = ["linear", "richardson", "exponential"]
X = torch.tensor([[0.3, 1.1], [2.0, 0.7], [1.5, 2.9]], dtype=torch.float64)


def built(**settings):
    """Return a mixture with its parameters, in double precision."""
    model = build_model(ModelConfig(**settings), 2, 2).double()
    for name, values in initial_parameters(lambda: model, 3, [0]).items():
        model.get_parameter(name).data = values[0].double()
    for part in (model.router, model.experts):
        if "strengths" in dict(part.named_buffers()):
            part.strengths = torch.tensor([0.07], dtype=torch.float64)
    return model


def wrapped(method, run=statevector.run):
    inverted = without_readout_errors(run)
    return inverted if method == "readout" else extrapolated(inverted, method)


@pytest.mark.parametrize("method", ["readout", *METHODS])
def test_router_and_experts_are_what_the_wrapped_engine_returns(method):
    model = built(**BOTH, mitigation=method)
    for part in (model.router, model.experts):
        found = part.measure(X)
        expected = wrapped(method)(part.circuit, X, part.theta, part.strengths)
        torch.testing.assert_close(found, expected)
        bare = statevector.run(part.circuit, X, part.theta, part.strengths)
        assert (found - bare).abs().max() > 0.01


@pytest.mark.parametrize("method", METHODS)
def test_gradients_go_through_the_extrapolation(method):
    router = built(**NOISE, mitigation=method).router

    @torch.no_grad()
    def value(theta):
        weights = wrapped(method)(router.circuit, X, theta, router.strengths)
        return (weights * torch.arange(4)).sum()

    (router(X) * torch.arange(4)).sum().backward()
    for k, step in enumerate(1e-6 * torch.eye(len(router.theta), dtype=torch.float64)):
        slope = (value(router.theta + step) - value(router.theta - step)) / 2e-6
        assert float(router.theta.grad[k]) == pytest.approx(float(slope), abs=1e-6)


def test_every_scale_is_sampled_apart_and_each_device_keeps_its_noise():
    config = ModelConfig(**NOISE, mitigation="linear", shots=50, shot_gradients="parameter-shift")
    router = build_model(config, 2, 2).router.double()
    keys = draw_keys(0, range(3))
    strengths = torch.tensor([[0.0], [0.1], [0.2]], dtype=torch.float64)
    theta = torch.rand(3, len(router.theta), generator=torch.Generator().manual_seed(0)).double()
    own = {"theta": theta, "strengths": strengths, "draw": keys}
    together = vmap(lambda p: functional_call(router, p, (X,)))(own)
    for k in range(3):

        def drawn(circuit, x, theta, strengths, k=k):
            place = [fold(router.circuit, s) for s in (1, 3, 5)].index(circuit)
            shots = Shots(circuit, statevector.run, 50, place=place)
            return shots(x, theta, strengths, keys[k])

        expected = extrapolated(drawn, "linear")(router.circuit, X, theta[k], strengths[k])
        torch.testing.assert_close(together[k], expected, atol=1e-9, rtol=0)
    # without noise the scales have the same probabilities, and draws of their own
    circuits = [fold(router.circuit, s) for s in (1, 3)]
    first, second = (router.shots[c](X, theta[0], strengths[0], keys[0]) for c in circuits)
    assert not torch.allclose(first, second)


@pytest.mark.parametrize("way", ["parameter-shift", "spsa"])
def test_gradients_from_shots_come_close_to_the_exact_ones(way):
    settings = {**NOISE, "qubits": 2, "reuploading": False, "mitigation": "richardson"}
    exact = built(**settings).router
    sampled = built(**settings, shots=4000, shot_gradients=way).router
    keys, theta = draw_keys(0, range(300)), exact.theta.detach()
    (exact(X)[:, 1]).sum().backward()

    def loss(theta, draw):
        own = {"theta": theta, "draw": draw}
        return functional_call(sampled, own, (X,))[:, 1].sum()

    thetas = theta.expand(len(keys), -1).clone().requires_grad_()
    (found,) = torch.autograd.grad(vmap(loss)(thetas, keys).sum(), thetas)
    error = found.std(0) / len(keys) ** 0.5
    bias = 0.02 if way == "parameter-shift" else 0.2
    assert ((found.mean(0) - exact.theta.grad).abs() < 4 * error + bias).all()
    assert exact.theta.grad.abs().max() > 0.3


def test_a_pennylane_device_may_bring_the_noise():
    config = ModelConfig(mitigation="linear", circuit_engine="pennylane:default.qubit", layers=1)
    router = build_model(config, 2, 2).router.double()
    expected = extrapolated(engine("pennylane:default.qubit"), "linear")
    torch.testing.assert_close(router(X), expected(router.circuit, X, router.theta, None))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"mitigation": "linear"}, "extrapolates noise, and gates have none"),
        ({"mitigation": "linear", "readout_error": 0.1}, "set a noise-channel"),
        ({**NOISE, "mitigation": "readout"}, "inverts nothing: set a readout-error"),
        ({**NOISE, "mitigation": "linear", "readout_error": 0.5}, "nothing is left to invert"),
        ({"mitigation": "cubic"}, "mitigation"),
        ({"mitigation": "linear", "router": "mlp"}, "mitigation needs router = 'quantum'"),
        (
            {"shots": 5, "expert": "quantum", "router": "linear", "num_experts": MOST_DRAWING + 1},
            "1024 quantum experts: at most 1023 draw apart",
        ),
    ],
)
def test_what_cannot_be_mitigated_or_drawn_is_refused_before_work(settings, message):
    with pytest.raises(UserError, match=message):
        build_model(ModelConfig(**settings), 2, 2)


def test_as_many_experts_as_there_are_keys_draw_and_differ():
    options = {"expert": "quantum", "expert_options": "layers = 1", "router": "linear"}
    many = {**options, "num_experts": MOST_DRAWING, "shots": 3}
    experts = build_model(ModelConfig(**many), 2, 2).experts.eval()
    experts.draw = torch.tensor(2**53 - 1)
    found = experts.measure(X[:1].float())
    assert len(found) == 1023
    assert len(found.flatten(1).unique(dim=0)) > 3


def test_parameters_of_a_bare_router_start_where_they_should():
    router = build_model(ModelConfig(), 2, 2).router
    drawn = initial_parameters(lambda: router, 0, range(50))["theta"]
    assert drawn.shape == (50, len(router.theta))
    assert 2.8 < float(drawn.abs().max()) <= torch.pi
    assert len(drawn.unique(dim=0)) == 50


def test_slots_are_folded_with_their_gates():
    circuit = built(**NOISE).router.circuit
    own, folded = (
        [getattr(o, "strength", None) for o in c.operations] for c in (circuit, fold(circuit, 3))
    )
    assert folded.count(Slot(0)) == 3 * own.count(Slot(0)) > 0
