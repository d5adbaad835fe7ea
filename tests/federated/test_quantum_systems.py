"""Federations whose experts are circuits: what travels, and that clients side by side are equal."""

import pytest
import torch

from qmoe_fed.config import Config
from qmoe_fed.federated import Federation

SMALL = {
    "num-clients": 3,
    "num-unseen-clients": 0,
    "train-samples": 12,
    "test-samples": 8,
    "batch-size": 6,
    "local-epochs": 1,
    "num-experts": 2,
    "layers": 1,
    "reuploading": False,
    "expert": "quantum",
    "expert-options": "layers = 1",
    "expert-fit": "gradient",
}


def after(rounds=1, **settings):
    federation = Federation(Config.from_flat({**SMALL, **settings}))
    state = federation.init()
    for _ in range(rounds):
        state, report = federation.round(state)
        assert report.counted
    return federation, state


@pytest.mark.parametrize(
    ("share", "travels", "stays"),
    [("router", {"router"}, {"experts"}), ("experts", {"experts"}, {"router"})],
)
def test_circuits_of_experts_are_shared_or_stay(share, travels, stays):
    federation, state = after(share=share)
    assert {name.split(".")[0] for name in state.shared} == travels
    assert {name.split(".")[0] for name in state.kept.local} == stays
    held = {**state.shared, **state.kept.local}
    assert held["experts.theta"].shape[-2:] == (2, 2)
    angles = next(values for name, values in state.shared.items() if name.endswith("theta"))
    assert federation.model.layout.is_angle.sum() == angles.numel()


def test_rounds_of_clients_side_by_side_equal_those_one_by_one():
    noise = {"noise-channel": "depolarizing", "noise-strength": "uniform(0, 0.2)"}
    (_, together), (_, alone) = (
        after(share="all", execution=execution, **noise) for execution in ("vmap", "serial")
    )
    for name, values in together.shared.items():
        torch.testing.assert_close(values, alone.shared[name], atol=1e-5, rtol=0)


def test_one_circuit_for_all_clients():
    settings = {"router": "none", "num-experts": 1, "share": "all"}
    federation, state = after(**settings)
    assert set(state.shared) == {"experts.theta", "experts.weight", "experts.bias"}
    assert (federation.score(state).columns["load-0"] == 1).all()


def test_mitigated_devices_are_trained_and_scored_side_by_side_as_one_by_one():
    noise = {"noise-channel": "amplitude-damping", "noise-strength": "uniform(0, 0.2)"}
    given = {**noise, "share": "all", "mitigation": "linear", "optimizer": "sgd"}
    (_, together), (_, alone) = (
        after(execution=execution, **given) for execution in ("vmap", "serial")
    )
    _, bare = after(**{**given, "mitigation": "none"})
    for name, values in together.shared.items():
        torch.testing.assert_close(values, alone.shared[name], atol=1e-5, rtol=0)
    theta = "router.theta"
    assert (together.shared[theta] - bare.shared[theta]).abs().max() > 1e-4  # of a step
