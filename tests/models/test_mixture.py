"""Mixtures from settings, and initial parameters from seeds."""

import sys
from pathlib import Path

import pytest
import torch

from qmoe_fed.circuits import statevector
from qmoe_fed.config import ModelConfig
from qmoe_fed.errors import UserError
from qmoe_fed.models import (
    LinearExperts,
    Mixture,
    angle_names,
    build_model,
    device_strengths,
    initial_parameters,
)


@pytest.fixture(autouse=True)
def _own_modules_can_be_imported(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    yield
    sys.modules.pop("own_modules", None)


def test_the_mixture_is_the_weighted_sum_of_linear_experts():
    model = build_model(ModelConfig(router="linear", num_experts=3), features=2, classes=4)
    values = initial_parameters(lambda: model, 0, [0])
    for name, parameter in model.named_parameters():
        parameter.data = values[name][0]
    x = torch.rand(5, 2)
    weights, w, b = model.router(x), model.experts.weight, model.experts.bias
    expected = torch.zeros(5, 4)
    for sample in range(5):
        for i in range(3):
            expected[sample] += weights[sample, i] * (w[i] @ x[sample] + b[i])
    torch.testing.assert_close(model(x), expected)


def test_parameters_fall_into_router_and_experts_and_angles_are_known():
    model = build_model(ModelConfig(readout="expval-adapter"), features=2, classes=2)
    assert {name.split(".")[0] for name, _ in model.named_parameters()} == {"router", "experts"}
    assert angle_names(model) == {"router.theta"}
    assert angle_names(build_model(ModelConfig(router="mlp"), 2, 2)) == frozenset()


@pytest.mark.parametrize("router", ["linear", "mlp", "trig", "quantum", "own_modules:CosineRouter"])
def test_initial_parameters_depend_on_seed_and_client_only(router):
    def make():
        return build_model(ModelConfig(router=router), features=2, classes=2)

    many = initial_parameters(make, 5, [0, 3, 9])
    one = initial_parameters(make, 5, [3])
    other = initial_parameters(make, 6, [3])
    for name, values in many.items():
        torch.testing.assert_close(values[1], one[name][0], rtol=0, atol=0)
        assert not torch.equal(values[0], values[1])
        assert not torch.equal(one[name], other[name])


def test_initial_parameters_leave_the_global_generator_alone():
    before = torch.random.get_rng_state()
    initial_parameters(
        lambda: build_model(ModelConfig(router="own_modules:CosineRouter"), 2, 2), 0, [0, 1]
    )
    assert torch.equal(before, torch.random.get_rng_state())


def test_initial_values_fill_their_range():
    config = ModelConfig(init_angle=0.5, layers=50)
    values = initial_parameters(lambda: build_model(config, 2, 2), 0, range(100))
    theta, weight = values["router.theta"], values["experts.weight"]
    assert 0.49 < theta.abs().max() <= 0.5
    assert theta.mean().abs() < 0.01
    assert weight.abs().max() <= 2**-0.5


def test_own_router_and_expert_by_import_path():
    config = ModelConfig(
        router="own_modules:CosineRouter",
        router_options="sharpness = 2.0",
        expert="own_modules:TinyNet",
        num_experts=2,
    )
    model = build_model(config, features=2, classes=3)
    assert model.router.sharpness == 2.0
    assert model(torch.rand(7, 2)).shape == (7, 3)
    assert isinstance(model, Mixture)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"router": "own_modules:Missing"}, "Missing"),
        ({"router": "no_such_module:Router"}, "no_such_module"),
        ({"router": "own_modules:not_a_module"}, "not a torch.nn.Module"),
        ({"router": "own_modules:CosineRouter", "router_options": "blur = 1"}, "blur"),
        ({"router": "own_modules:CosineRouter", "router_options": "blur ="}, "router-options"),
    ],
)
def test_a_module_that_cannot_be_built_is_refused(settings, message):
    with pytest.raises(UserError, match=message):
        build_model(ModelConfig(**settings), 2, 2)


def test_own_circuit_by_import_path():
    from own_modules import ring

    config = ModelConfig(circuit="own_modules:ring", qubits=3, layers="1..2")
    model = build_model(config, features=2, classes=3)
    assert model.router.theta.shape == (6,)
    model.router.theta.data = torch.rand(6)
    x = torch.rand(7, 2)
    outcomes = statevector.run(ring(3, 2, 2), x, model.router.theta)
    torch.testing.assert_close(model.router(x), outcomes.view(7, 4, 2).sum(-1))
    shallow = build_model(config, features=2, classes=3, layers=1)
    assert shallow.router.theta.shape == (6,)
    assert shallow(x).shape == (7, 3)


@pytest.mark.parametrize(
    ("circuit", "message"),
    [
        ("own_modules:missing", "missing"),
        ("own_modules:not_a_circuit", r"own_modules:not_a_circuit'.*returns a Circuit, got a list"),
    ],
)
def test_a_circuit_that_cannot_be_built_is_refused(circuit, message):
    with pytest.raises(UserError, match=message):
        build_model(ModelConfig(circuit=circuit), 2, 2)


def test_strengths_of_devices_depend_on_seed_and_client_only():
    config = ModelConfig(
        noise_channel="depolarizing",
        noise_strength="uniform(0.01, 0.05)",
        readout_error="uniform(0, 0.2)",
    )
    router = build_model(config, 2, 2).router
    many = device_strengths(config, 7, range(200))["router.strengths"]
    assert many.shape == (200, router.circuit.strengths) == (200, 2)
    assert torch.equal(device_strengths(config, 7, [5])["router.strengths"][0], many[5])
    assert not torch.equal(device_strengths(config, 8, [5])["router.strengths"][0], many[5])
    for column, (low, high) in zip(many.T, [(0.01, 0.05), (0, 0.2)], strict=True):
        assert low <= column.min() < column.max() < high
        assert column.mean().item() == pytest.approx((low + high) / 2, abs=(high - low) / 10)
    same = ModelConfig(noise_channel="depolarizing", noise_strength=0.1, readout_error=0.02)
    assert device_strengths(same, 7, range(3)) == {}
    assert build_model(same, 2, 2).router.circuit.strengths == 0


def test_linear_experts_are_linear():
    experts = LinearExperts(2, 3, 4)
    experts.weight.data.normal_(generator=torch.Generator().manual_seed(0))
    x = torch.rand(6, 2)
    torch.testing.assert_close(experts(2 * x), 2 * experts(x))
