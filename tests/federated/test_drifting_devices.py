"""Devices whose noise drifts over the rounds, and routers that see how noisy theirs is."""

import math

import pytest
import torch
from torch.func import functional_call

from qmoe_fed.config import Config, ModelConfig
from qmoe_fed.errors import UserError
from qmoe_fed.federated import Federation
from qmoe_fed.models import build_model, device_strengths, initial_parameters

NOISE = {"noise_channel": "depolarizing", "noise_strength": "uniform(0.02, 0.12)"}
CLIENTS = range(40)
RUN = {
    "num-clients": 3,
    "num-unseen-clients": 0,
    "train-samples": 12,
    "test-samples": 8,
    "local-epochs": 1,
    "num-experts": 2,
    "layers": 1,
    "qubits": 3,
    "expert-fit": "gradient",
    "optimizer": "sgd",
    "noise-channel": "depolarizing",
    "noise-strength": "uniform(0, 0.2)",
    "calibration": True,
}


def strengths(server_round=0, **settings):
    config = ModelConfig(**{"qubits": 3, **NOISE, **settings})
    return device_strengths(config, 5, CLIENTS, server_round)


def test_strengths_move_at_most_by_the_drift_and_stay_in_their_range():
    rounds = torch.cat([strengths(t, noise_drift=0.1)["router.strengths"] for t in range(30)], 1)
    assert torch.equal(rounds[:, 0], strengths()["router.strengths"][:, 0])
    assert rounds.min() >= 0.02
    assert rounds.max() <= 0.12 + 1e-7
    steps = rounds.diff(dim=1).abs()
    assert steps.max() <= 0.1 * 0.1 + 1e-7
    assert steps.amax(1).min() > 0  # nobody stays where he is
    assert (rounds.diff(dim=1).sign().diff(dim=1) != 0).any()  # some turned around
    assert torch.equal(strengths(7)["router.strengths"], strengths()["router.strengths"])


def test_the_calibration_is_the_place_in_the_range_as_an_angle():
    found = strengths(4, noise_drift=0.2, calibration=True, expert="quantum")
    assert set(found) == {"router.strengths", "experts.strengths", "router.calibration"}
    expected = math.pi * (found["router.strengths"] - 0.02) / 0.1
    torch.testing.assert_close(found["router.calibration"], expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("router", ["quantum", "linear", "mlp"])
def test_a_router_sees_its_calibration_beside_the_features(router):
    noise = {**NOISE, "expert": "quantum"}
    config = ModelConfig(router=router, qubits=3, calibration=True, **noise)
    module = build_model(config, 2, 2)
    plain = build_model(ModelConfig(router=router, qubits=3, **noise), 3, 2)
    values = initial_parameters(lambda: module, 0, [0])
    own = {n.removeprefix("router."): v[0] for n, v in values.items() if n.startswith("router.")}
    assert own.keys() == dict(plain.router.named_parameters()).keys()
    x, angle = torch.rand(5, 2), torch.tensor([1.3])
    wide = torch.cat([x, angle.expand(5, 1)], 1)
    found = functional_call(module.router, {**own, "calibration": angle}, x)
    assert torch.equal(found, functional_call(plain.router, own, wide))
    other = functional_call(module.router, {**own, "calibration": angle + 1}, x)
    assert (found - other).abs().max() > 1e-3


def test_rounds_and_scores_are_of_the_devices_of_that_round():
    federation = Federation(Config.from_flat({**RUN, "noise-drift": 0.5}))
    state, _ = federation.round(federation.init())
    before = federation.host.score(state.kept, state.shared, range(3))
    table = federation.score(state)
    assert not torch.equal(before.columns["loss"], table.columns["loss"])
    still = Federation(Config.from_flat(RUN))
    assert not torch.equal(
        still.round(still.init())[0].shared["router.theta"], state.shared["router.theta"]
    )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"noise_drift": 0.1}, "noise-drift and calibration need devices that differ"),
        ({"calibration": True, "noise_strength": 0.1}, "need devices that differ"),
        ({"calibration": True, "router": "none", "num_experts": 1}, "looks at nothing"),
    ],
)
def test_settings_without_devices_that_differ_are_refused(settings, message):
    noise = {} if "noise_drift" in settings else {**NOISE, "expert": "quantum"}
    with pytest.raises(UserError, match=message):
        ModelConfig(**{**noise, **settings})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"qubits": 2}, "the data and the calibration have 3 features"),
        ({"noise-drift": 0.1, "expert-fit": "solve"}, "solved experts are made for devices"),
    ],
)
def test_runs_that_cannot_work_are_refused(settings, message):
    with pytest.raises(UserError, match=message):
        Federation(Config.from_flat({**RUN, **settings}))
