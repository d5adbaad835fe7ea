"""Every router gives weights that are non-negative and sum to 1, read out as stated."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from qmoe_fed.circuits import Slot, statevector, with_noise
from qmoe_fed.circuits.ansatz import layered
from qmoe_fed.config import ModelConfig
from qmoe_fed.errors import UserError
from qmoe_fed.models import build_model, initial_parameters
from qmoe_fed.models.routers import QuantumRouter, fold, trigonometric_features

ROUTERS = [
    ModelConfig(router="linear"),
    ModelConfig(router="mlp", hidden_width=3),
    ModelConfig(router="trig"),
    ModelConfig(router="quantum"),
    ModelConfig(router="quantum", reuploading=False, num_experts=3),
    ModelConfig(router="quantum", entangler="strongly-entangling", readout="expval-adapter"),
    ModelConfig(router="quantum", embedding="rx", entangler="none", num_experts=2),
    ModelConfig(router="quantum", num_experts=1),
]


@pytest.mark.parametrize("config", ROUTERS, ids=lambda c: f"{c.router}-{c.num_experts}")
def test_weights_are_non_negative_and_sum_to_one(config):
    model = build_model(config, features=2, classes=3)
    values = initial_parameters(lambda: model, seed=1, clients=[0])
    x = torch.rand(50, 2) * math.pi
    router = {n.removeprefix("router."): v[0] for n, v in values.items() if "router" in n}
    weights = torch.func.functional_call(model.router, router, x)
    assert weights.shape == (50, config.num_experts)
    assert weights.min() >= 0
    torch.testing.assert_close(weights.sum(-1), torch.ones(50))


@pytest.mark.parametrize(
    ("config", "parameters"),
    [
        (ModelConfig(router="linear", num_experts=2), 6),
        (ModelConfig(router="mlp", num_experts=2, hidden_width=2), 12),
        (ModelConfig(router="mlp", num_experts=2, hidden_width=16), 82),
        (ModelConfig(router="trig", num_experts=2), 18),
        (ModelConfig(router="quantum", layers=3), 6),
        (
            ModelConfig(
                router="quantum",
                num_experts=2,
                layers=3,
                entangler="strongly-entangling",
                readout="expval-adapter",
            ),
            24,
        ),
    ],
)
def test_router_parameters_are_those_of_the_paper_and_its_notebooks(config, parameters):
    router = build_model(config, features=2, classes=2).router
    assert sum(p.numel() for p in router.parameters()) == parameters


def test_basis_states_are_taken_modulo_the_number_of_experts():
    probabilities = torch.tensor([[0.1, 0.2, 0.3, 0.4]])
    torch.testing.assert_close(fold(probabilities, 3), torch.tensor([[0.5, 0.2, 0.3]]))
    torch.testing.assert_close(fold(probabilities, 4), probabilities)


def test_two_experts_read_the_first_qubit_only():
    x, theta = torch.rand(5, 3), torch.rand(6)
    router, full = (QuantumRouter(layered(3, 2, 3), experts) for experts in (2, 8))
    for module in (router, full):
        module.theta.data = theta
    torch.testing.assert_close(router(x), full(x).view(5, 2, 4).sum(-1))


def test_a_router_of_fewer_layers_reads_the_first_parameters():
    config = ModelConfig(layers="1..3")
    deep, shallow = (build_model(config, 2, 2, layers=depth).router for depth in (3, 1))
    assert deep.theta.shape == shallow.theta.shape == (6,)
    deep.theta.data = shallow.theta.data = theta = torch.rand(6)
    x = torch.rand(5, 2)
    only = build_model(ModelConfig(layers=1), 2, 2).router
    only.theta.data = theta[:2]
    torch.testing.assert_close(shallow(x), only(x))
    assert not torch.allclose(deep(x), only(x))
    (gradient,) = torch.autograd.grad(shallow(x)[:, 0].sum(), shallow.theta)
    assert gradient[:2].abs().min() > 0
    assert (gradient[2:] == 0).all()


def test_strengths_of_noise_are_a_buffer_that_replicas_have_of_their_own():
    circuit = with_noise(layered(2, 1, 2), "depolarizing", Slot(0), "gate")
    router = QuantumRouter(circuit, 4)
    assert set(router.state_dict()) == {"theta", "strengths"}
    x, theta, strengths = torch.rand(5, 2), torch.rand(2), torch.tensor([[0.0], [0.3], [0.75]])

    def run(strengths):
        own = {"theta": theta, "strengths": strengths}
        return torch.func.functional_call(router, own, x)

    together = torch.func.vmap(run)(strengths)
    torch.testing.assert_close(together, torch.stack([run(row) for row in strengths]))
    exact = statevector.run(layered(2, 1, 2), x, theta)
    torch.testing.assert_close(together[0], exact)
    torch.testing.assert_close(together[2], torch.full((5, 4), 0.25))


@given(st.integers(1, 4))
@settings(max_examples=4, deadline=None)
def test_trigonometric_features_are_all_products(features):
    x = torch.rand(1, features, dtype=torch.float64)
    terms = trigonometric_features(x)
    assert terms.shape == (1, 3**features)
    assert terms[0, 0] == 1
    torch.testing.assert_close(terms[0, -1], x.sin().prod())
    # the features span a product space: each factor contributes 1 + cos² + sin² = 2
    torch.testing.assert_close(terms.square().sum(), torch.tensor(2.0**features).double())


def test_impossible_routers_are_refused_with_what_to_do():
    with pytest.raises(UserError, match=r"2 qubits have only 4 basis states.*use more qubits"):
        ModelConfig(num_experts=5, qubits=2)
    with pytest.raises(UserError, match=r"the data have 3 features, one qubit each"):
        build_model(ModelConfig(qubits=2), features=3, classes=2)
    with pytest.raises(UserError, match="Did you mean 'quantum'"):
        ModelConfig(router="quantom")
    with pytest.raises(UserError, match=r"circuit-engine.*pennylane:<device>"):
        ModelConfig(circuit_engine="qiskit")
