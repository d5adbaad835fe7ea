"""Runs whose experts are solved: what travels, what is kept, what a client is."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from small_federation import SMALL, federate, outcome

from qmoe_fed.config import Config
from qmoe_fed.data import Samples, fit_projection, load_clients
from qmoe_fed.errors import UserError
from qmoe_fed.federated import Federation
from qmoe_fed.federated.training import train_clients
from qmoe_fed.learning.replicas import expand
from qmoe_fed.learning.solving import PRIOR, RIDGE, SCALE, SLOPE
from qmoe_fed.results import load_run

SOLVED = {"expert_fit": "solve", "unseen_samples": "4,8"}


def config_of(**changes):
    return Config.from_flat({**SMALL, **{k.replace("_", "-"): v for k, v in changes.items()}})


def after_three(**changes):
    federation = Federation(config_of(**{**SOLVED, **changes}))
    state = federation.init()
    for _ in range(3):
        state, report = federation.round(state)
        assert report.counted, report
    return federation, state


def by_hand(samples, shared, module, prior):
    """Return a client's class scores, by the normal equations in float64."""
    count, experts = int(samples.counts[0]), 4
    x, y = samples.x[0, :count], samples.y[0, :count]
    router = {"theta": shared["router.theta"]}

    def features(inputs):
        weights = torch.func.functional_call(module.router, router, inputs).double()
        wide = torch.cat([inputs.double() - torch.pi / 2, torch.ones(len(inputs), 1)], -1)
        return torch.einsum("bn,bw->bnw", weights, wide).flatten(1)

    size = min(max(count, 1), 8)  # a step shows batches of 8
    ridge = float(torch.exp(shared[RIDGE] + shared[SLOPE] * np.log(size / 8)))
    start = torch.zeros(experts * 3, 2, dtype=torch.float64)
    if prior:
        start = shared[PRIOR].double().transpose(1, 2).reshape(experts * 3, 2)  # √(2/D) is 1
    phi, target = features(x), torch.nn.functional.one_hot(y, 2).double() - 0.5
    system = phi.T @ phi + ridge * torch.eye(experts * 3, dtype=torch.float64)
    found = torch.linalg.solve(system, phi.T @ target + ridge * start)
    return lambda inputs: float(torch.exp(shared[SCALE])) * features(inputs) @ found


@pytest.mark.parametrize("share", ["router", "prior"])
def test_a_client_is_the_ridge_solution_on_its_own_samples(share):
    federation, state = after_three(share=share)
    data = load_clients(federation.config, range(6), fit_projection(federation.config))
    columns = federation.score(state).columns
    for client in range(6):
        own, test = (part.select(slice(client, client + 1)) for part in (data.train, data.test))
        scores = by_hand(own, state.shared, federation.model.module, share == "prior")(test.x[0])
        accuracy = (scores.argmax(-1) == test.y[0]).double().mean()
        loss = torch.nn.functional.cross_entropy(scores, test.y[0])
        assert float(columns["accuracy"][client]) == pytest.approx(float(accuracy))
        assert float(columns["loss"][client]) == pytest.approx(float(loss), rel=1e-4)


def test_what_travels_and_what_is_kept():
    fit = (RIDGE, SLOPE, SCALE)
    names = {
        "router": (("router.theta", *fit), ()),
        "prior": (("router.theta", *fit, PRIOR), ()),
        "none": ((), ("router.theta", *fit)),
    }
    for share, (shared, local) in names.items():
        federation, state = after_three(share=share)
        assert federation.model.shared == shared
        assert federation.model.local == tuple(state.kept.local) == local
    frozen, state = after_three(freeze="router")
    assert frozen.model.shared == fit
    start = Federation(config_of()).init().shared["router.theta"]
    assert frozen.model.frozen["router.theta"].equal(start)
    gradient = Federation(config_of(freeze="router", share="all"))
    assert gradient.model.shared == ("experts.weight", "experts.bias")


def test_a_frozen_router_is_what_every_client_routes_with():
    federation = Federation(config_of(freeze="router"))
    state = federation.init()
    load = [values for name, values in federation.score(state).columns.items() if "load" in name]
    state, _ = federation.round(state)
    after = [values for name, values in federation.score(state).columns.items() if "load" in name]
    assert torch.stack(load).equal(torch.stack(after))


@pytest.mark.parametrize("share", ["router", "prior"])
def test_a_clients_update_does_not_depend_on_the_others_nor_on_how_replicas_are_run(share):
    config = config_of(share=share, **SOLVED)
    federation = Federation(config)
    model, shared = federation.model, federation.init().shared
    data = load_clients(config, range(6), fit_projection(config))
    whole = train_clients(model, data, shared, {}, range(6), 1).updates
    assert whole.abs().amax(1).min() > 0.01
    alone = train_clients(model, data.select(torch.tensor([4])), shared, {}, [4], 1).updates
    torch.testing.assert_close(alone[0], whole[4], atol=1e-6, rtol=1e-6)
    serial = Federation(config_of(share=share, execution="serial", **SOLVED)).model
    looped = train_clients(serial, data, shared, {}, range(6), 1).updates
    torch.testing.assert_close(looped, whole, atol=1e-5, rtol=1e-5)


def test_clients_without_samples_are_the_prior():
    federation, state = after_three(share="prior", unseen_samples="0,4")
    table = federation.unseen(state)
    config = federation.config
    data = load_clients(config, config.federation.unseen_clients, fit_projection(config))
    nobody = Samples(data.train.x[:, :0], data.train.y[:, :0], torch.zeros(3, dtype=torch.long))
    for row in range(3):
        scores = by_hand(
            nobody.select(slice(row, row + 1)), state.shared, federation.model.module, True
        )(data.test.x[row])
        accuracy = (scores.argmax(-1) == data.test.y[row]).double().mean()
        assert float(table.columns["shared-0"][row]) == pytest.approx(float(accuracy))


@pytest.mark.parametrize(
    "changes",
    [
        {"top_k": 2},
        {"router": "mlp"},
        {"aggregator": "krum"},
        {"aggregator": "median", "fraction_train": 0.8},
        {"mechanisms": "central-dp", "quorum": 0.0},
        {"layers": "1..3"},
        {"noise_channel": "depolarizing", "noise_strength": "uniform(0, 0.1)"},
        {"shots": 100, "shot_gradients": "parameter-shift"},
        {"server_step": "adam", "server_learning_rate": 0.1},
        {"train_samples": 1, "unseen_samples": "1"},
        {"load_balancing": 0.1},
        {"dirichlet_alpha": 0.01},
    ],
    ids=lambda changes: next(iter(changes)),
)
@pytest.mark.parametrize("share", ["router", "prior"])
def test_everything_else_works_with_it(share, changes):
    federation, state = after_three(share=share, **changes)
    assert all(values.isfinite().all() for values in state.shared.values())
    start = federation.model.initial_shared()
    if changes != {"train_samples": 1, "unseen_samples": "1"} or share == "prior":
        assert not state.shared["router.theta" if "router" not in changes else SCALE].equal(
            start["router.theta" if "router" not in changes else SCALE]
        )
    for values in federation.score(state).columns.values():
        assert values.isfinite().all()
    assert (
        federation.unseen(state)
        .columns["shared-1" if "train_samples" in changes else "shared-8"]
        .isfinite()
        .all()
    )


@pytest.mark.parametrize("seen", ["all", "standardised", 12])
@pytest.mark.parametrize("fit", ["solve", "gradient"])
def test_experts_may_see_more_than_the_router(seen, fit):
    changes = {"dataset": "digits", "qubits": 4, "expert_features": seen, "expert_fit": fit}
    federation = Federation(
        config_of(**changes, share="router", unseen_samples="4", batch_size=64, learning_rate=0.05)
    )
    inputs = seen if isinstance(seen, int) else 64
    assert federation.model.module.experts.weight.shape == (4, 10, inputs)
    state = federation.init()
    before = float(federation.score(state).columns["accuracy"].mean())
    for _ in range(3):
        state, _ = federation.round(state)
    after = float(federation.score(state).columns["accuracy"].mean())
    assert after > (0.6 if fit == "solve" else before + 0.1)
    assert state.shared.keys() == set(federation.model.shared)


def test_the_scale_of_what_experts_see_is_common_to_all_samples():
    config = config_of(dataset="digits", qubits=4, expert_features="all")
    projection = fit_projection(config)
    raw = np.random.default_rng(0).uniform(0, 16, (5, 64))
    x = projection.inputs(raw)
    assert x.shape == (5, 68)
    np.testing.assert_array_equal(x[:, :4], projection.angles(raw))
    np.testing.assert_allclose(x[:, 4:], (raw - projection.mean) * projection.gain, rtol=1e-5)
    restored = type(projection).from_dict(projection.to_dict())
    assert restored == projection
    assert projection.gain.shape == (1,)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"expert": "mine:Expert", **SOLVED}, "only linear experts have a solution"),
        ({"share": "all", **SOLVED}, "never travel; share 'router', 'prior' or 'none'"),
        ({"share": "experts", **SOLVED}, "never travel"),
        ({"share": "prior"}, "share = 'prior' needs expert-fit = 'solve'"),
        ({"ridge": 2.0}, "support and ridge need expert-fit = 'solve'"),
        ({"support": 0.0, **SOLVED}, "support = 0.0: must be in"),
        ({"unseen_samples": "0,4"}, "need experts from others; share 'prior' or 'all'"),
        ({"expert_features": "all"}, "on Two Moons the router sees both features"),
        ({"dataset": "digits", "qubits": 4, "expert_features": "most"}, "expert-features = 'most'"),
        ({"dataset": "digits", "qubits": 4, "expert_features": 0}, "expert-features = 0"),
    ],
)
def test_what_cannot_work_is_refused_before_the_run(changes, message):
    with pytest.raises(UserError, match=message):
        config_of(**changes)


def test_more_components_than_there_are_directions_are_refused():
    config = config_of(dataset="digits", qubits=4, expert_features=65)
    with pytest.raises(UserError, match=r"expert-features = 65: .* vary in only"):
        fit_projection(config)


@pytest.mark.parametrize("share", ["router", "prior"])
def test_a_run_writes_solved_experts_that_a_loaded_run_predicts_with(tmp_path, share):
    _, folder = federate(tmp_path / "run", 2, share=share, **SOLVED)
    _, state = after_three(share=share)
    result = outcome(folder)
    for name, values in state.shared.items():
        torch.testing.assert_close(torch.from_numpy(result["shared"][name]), values)
    run = load_run(folder)
    raw = np.array([[0.5, 0.25], [1.5, -0.2], [-0.9, 0.3]])
    data = run.data([3])
    solve = by_hand(data.train, state.shared, run.model, share == "prior")
    scores = solve(torch.from_numpy(run.projection.inputs(raw)))
    np.testing.assert_allclose(run.predict(3, raw), scores.softmax(-1), atol=1e-5)
    files = load_file(folder / "experts" / "host-0.safetensors")
    assert set(files) == {"experts.weight", "experts.bias", "clients"}
    columns = json.loads((folder / "clients.json").read_text())
    assert columns["train-samples"] == [20] * 6
    assert columns["test-samples"] == [10] * 6


def test_a_run_whose_router_is_frozen_can_be_loaded(tmp_path):
    for name, more in {"gradient": {}, "solve": SOLVED}.items():
        _, folder = federate(tmp_path / name, freeze="router", **more)
        run = load_run(folder)
        assert run.shared["router.theta"].equal(
            Federation(config_of()).init().shared["router.theta"]
        )
        assert run.predict(2, [[0.5, 0.25]]).shape == (1, 2)


def test_a_large_prior_is_not_refused_for_its_length():
    config = config_of(
        dataset="digits",
        qubits=4,
        expert_features="all",
        share="prior",
        batch_size=8,
        learning_rate=0.5,
        local_epochs=8,
        **SOLVED,
    )
    federation = Federation(config)
    _, report = federation.round(federation.init())
    assert report.rejections == []
    size = federation.model.layout.size
    assert federation.model.max_update_norm == pytest.approx(10 * size**0.5)
    assert Federation(config_of()).model.max_update_norm == 100
    assert Federation(config_of(max_update_norm=3.0)).model.max_update_norm == 3


def test_replicas_hold_the_frozen_router():
    model = Federation(config_of(freeze="router")).model
    held = model.replicas({}, {}, [0, 1])["router.theta"]
    assert held.equal(expand(model.frozen, 2)["router.theta"])
