"""Each client a device of its own: noise, depth of the circuit, finite shots."""

import json
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from small_federation import SMALL, federate

from qmoe_fed.config import Config
from qmoe_fed.federated import Federation
from qmoe_fed.federated.model import Model
from qmoe_fed.federated.rules import close_round
from qmoe_fed.learning import trainer
from qmoe_fed.learning.devices import client_layers

UNEQUAL = {"noise-channel": "depolarizing", "noise-strength": "uniform(0, 0.3)"}
DEEP = {"layers": "1..3"}


def after_a_round(**settings):
    few = {"num-unseen-clients": 0, "local-epochs": 1}
    federation = Federation(Config.from_flat({**SMALL, **few, **settings}))
    state, _ = federation.round(federation.init())
    return federation, state


def rows(federation, state):
    """Return everything known of each client after a round, as one matrix per name."""
    return {**state.kept.local, **federation.score(state).columns}


def test_a_client_among_unequal_devices_does_as_it_would_among_its_equals():
    federation, state = after_a_round(**UNEQUAL, share="none")
    together = rows(federation, state)
    strengths = federation.model.devices(range(9))["router.strengths"]
    for client in (0, 5):
        same = {**UNEQUAL, "noise-strength": float(strengths[client])}
        alone = rows(*after_a_round(**same, share="none"))
        assert alone.keys() == together.keys()
        for name, values in state.kept.local.items():
            torch.testing.assert_close(values[client], alone[name][client])
        for name in ("accuracy", "loss", "routing-entropy"):
            torch.testing.assert_close(together[name][client], alone[name][client])
    losses = rows(*after_a_round(share="none"))["loss"]
    assert (losses - together["loss"]).abs().min() > 1e-4


def test_unseen_clients_have_devices_of_their_own():
    unequal = {**UNEQUAL, "noise-strength": "uniform(0, 1)", "num-unseen-clients": 3}
    federation, state = after_a_round(**unequal)
    strengths = federation.model.devices(range(9))["router.strengths"][6:]
    assert len(set(strengths.flatten().tolist())) == 3
    together = federation.unseen(state)
    for row, strength in enumerate(strengths.flatten().tolist()):
        equal = Federation(Config.from_flat({**SMALL, **unequal, "noise-strength": strength}))
        for name, values in equal.unseen(state).columns.items():
            assert values[row] == together.columns[name][row]


@pytest.mark.parametrize("settings", [UNEQUAL, {"keep-optimizer-state": True}], ids=str)
def test_clients_of_each_depth_do_as_in_a_federation_of_that_depth(settings):
    """Seeds draw the same first angles, whatever the depth, so fewer layers are a prefix."""
    federation, state = after_a_round(**settings, **DEEP, share="none")
    depths = client_layers(federation.config, range(6))
    assert set(depths) == {1, 2, 3}
    start, together = federation.init().kept.local, rows(federation, state)
    for layers in (1, 2, 3):
        loop = rows(*after_a_round(**settings, layers=layers, share="none"))
        for client in (c for c in range(6) if depths[c] == layers):
            moved, size = together["router.theta"][client], 2 * layers
            torch.testing.assert_close(moved[:size], loop["router.theta"][client])
            assert torch.equal(moved[size:], start["router.theta"][client, size:])
            for name in ("experts.weight", "loss", "routing-entropy"):
                torch.testing.assert_close(together[name][client], loop[name][client])


@pytest.mark.parametrize("weighting", ["uniform", "examples"])
def test_the_mean_is_over_those_who_have_the_layer(weighting):
    few = {"num-unseen-clients": 0, "local-epochs": 1, "weighting": weighting}
    federation = Federation(Config.from_flat({**SMALL, **few, **DEEP}))
    start, layout = federation.init(), federation.model.layout
    _, cohort = federation.host.train(start.kept, start.shared, range(6), 1)
    depths = torch.tensor(client_layers(federation.config, range(6)))
    has = torch.arange(6) // 2 < depths[:, None]
    assert torch.equal(has, federation.model.trained_by(range(6)))
    assert not cohort.updates[~has].any()
    assert cohort.updates[has].all()
    examples = torch.arange(1.0, 7.0, dtype=torch.float64)
    cohort = replace(cohort, weights=examples)
    before = layout.flat(start.shared)
    end = close_round(federation.rules, 1, 6, cohort, (), layout, before, None)
    for angle in range(6):
        who = has[:, angle]
        weights = examples[who] if weighting == "examples" else torch.ones(who.sum())
        mean = (weights * cohort.updates[who, angle]).sum() / weights.sum()
        assert end.values[angle] - before[angle] == pytest.approx(mean.item(), abs=1e-9)


def test_a_layer_that_nobody_has_in_a_round_stays():
    federation, state = after_a_round(**DEEP, **{"num-clients": 1, "seed": 1})
    (layers,) = client_layers(federation.config, [0])
    assert layers < 3
    before, after = (s.shared["router.theta"] for s in (federation.init(), state))
    assert torch.equal(before[2 * layers :], after[2 * layers :])
    assert not torch.equal(before[: 2 * layers], after[: 2 * layers])


@pytest.mark.parametrize("share", ["all", "experts", "none"])
def test_everything_but_layers_is_trained_by_all(share):
    model = Model(Config.from_flat({**SMALL, **DEEP, "share": share}))
    depths = torch.tensor(client_layers(model.config, range(50)))
    experts = 4 * 2 * (2 + 1)
    counts = {"all": experts + 2 * depths, "experts": torch.full((50,), experts)}
    expected = counts.get(share, torch.zeros(50, dtype=torch.long))
    assert torch.equal(model.trained_by(range(50)).sum(1), expected)
    assert torch.bincount(depths)[1:].min() > 8


def names_in(messages):
    """Return the names of all that is in messages: records, arrays, settings, metrics."""
    found = set()
    for message in messages:
        for name, record in message.content.items():
            found |= {(message.metadata.message_type, name, key) for key in record}
    return found


def test_nothing_of_the_devices_travels_or_is_stored(tmp_path):
    plain, _ = federate(tmp_path / "plain", num_server_rounds=1)
    unequal = {"readout_error": "uniform(0, 0.1)", "shots": 50, "layers": "1..3"}
    noise = {key.replace("-", "_"): value for key, value in UNEQUAL.items()}
    grid, folder = federate(tmp_path / "unequal", num_server_rounds=1, **noise, **unequal)
    assert names_in(grid.sent) == names_in(plain.sent)
    assert names_in(grid.received) == names_in(plain.received)
    files = {path.name for path in (tmp_path / "plain").rglob("*")}
    assert {path.name for path in folder.rglob("*")} == files
    assert json.loads((folder / "summary.json").read_text())["status"] == "completed"


def test_with_exact_gradients_shots_change_the_scores_only():
    exact, end = after_a_round()
    federation, state = after_a_round(shots=20)
    assert torch.equal(state.shared["router.theta"], end.shared["router.theta"])
    assert torch.equal(state.kept.local["experts.weight"], end.kept.local["experts.weight"])
    scores, ideal = federation.score(state).columns, exact.score(end).columns
    loads = [(scores[f"load-{i}"], ideal[f"load-{i}"]) for i in range(4)]
    assert 1e-4 < max((a - b).abs().max() for a, b in loads) < 0.1
    # 10 samples of 20 shots each: all loads are multiples of 1/200
    assert all(torch.allclose(200 * a, (200 * a).round(), atol=1e-4) for a, _ in loads)
    again = federation.score(state).columns
    assert all(torch.equal(values, again[name]) for name, values in scores.items())


def test_by_parameter_shift_every_step_of_every_client_has_a_key(monkeypatch):
    asked, draw_keys = [], trainer.draw_keys

    def spy(*about):
        asked.append(about)
        return draw_keys(*about)

    monkeypatch.setattr(trainer, "draw_keys", spy)
    settings = {"shots": 20, "shot-gradients": "parameter-shift"}
    federation, state = after_a_round(**settings)
    steps = 3  # 20 samples in batches of 8
    assert [(seed, r, step) for seed, _, r, step in asked] == [(0, 1, i) for i in range(steps)]
    assert all(list(clients) == list(range(6)) for _, clients, _, _ in asked)
    assert "router.draw" in federation.model.devices([0])
    exact = after_a_round()[1].shared["router.theta"]
    moved = (state.shared["router.theta"] - exact).abs()
    assert 1e-4 < moved.max() < 0.5
    assert torch.equal(
        after_a_round(**settings)[1].shared["router.theta"], state.shared["router.theta"]
    )


def test_the_noisy_moons_are_fifty_unequal_devices():
    file = Path(__file__).parents[2] / "configs" / "moons_noisy.toml"
    config = Config.from_flat(tomllib.loads(file.read_text()))
    strengths = Model(config).devices(range(50))["router.strengths"]
    assert config.federation.num_clients == 50
    assert len(set(strengths.flatten().tolist())) == 50


def test_unequal_devices_are_those_of_pennylane():
    few = {**UNEQUAL, **DEEP, "readout-error": "uniform(0, 0.2)", "num-clients": 3}
    few |= {"num-unseen-clients": 0, "test-samples": 3, "seed": 4}
    mixed = {"circuit-engine": "pennylane:default.mixed", "execution": "serial"}
    ours, oracle = (Federation(Config.from_flat({**SMALL, **few, **m})) for m in ({}, mixed))
    assert len(set(client_layers(ours.config, range(3)))) > 1
    scores, columns = (federation.score(federation.init()).columns for federation in (ours, oracle))
    torch.testing.assert_close(scores, columns, atol=1e-5, rtol=0)
