"""Every router gives weights that are non-negative and sum to 1, read out as stated."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from qmoe_fed.circuits import Circuit
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
    x, theta = torch.rand(5, 3), torch.rand(2, 3)
    router = QuantumRouter(Circuit(3, 2, measured=1), 2)
    full = QuantumRouter(Circuit(3, 2), 8)
    for module in (router, full):
        module.theta.data = theta
    torch.testing.assert_close(router(x), full(x).view(5, 2, 4).sum(-1))


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
