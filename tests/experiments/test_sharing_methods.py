"""The ways of sharing: what each costs, and where they must coincide."""

import pytest
from compare_sharing import GRID

from qmoe_fed.config import Config
from qmoe_fed.data import fit_projection, load_clients
from qmoe_fed.errors import UserError
from qmoe_fed.experiments.measures.sharing import shared
from qmoe_fed.federated.model import Model
from qmoe_fed.learning import evaluate, train

TINY = {
    "expert-fit": "gradient",
    "num-clients": 4,
    "num-unseen-clients": 3,
    "num-server-rounds": 5,
    "local-epochs": 2,
    "train-samples": 16,
    "test-samples": 40,
    "unseen-samples": "8",
    "unseen-epochs": 5,
    "learning-rate": 0.1,
    "weight-decay": 0.0,
}


def outcome(sharing, options=None, **changes):
    changes = {key.replace("_", "-"): value for key, value in changes.items()}
    way = {"method": "federated", "options": {}, **GRID["ways"][sharing]}
    method, given = way.pop("method"), {**way.pop("options"), **(options or {})}
    (row,) = shared({**TINY, **way, **changes}, method, **given).rows
    return row


def test_what_each_way_of_sharing_sends():
    sent = {sharing: outcome(sharing)["bytes_up"] for sharing in GRID["sets"]["mixtures"]}
    assert sent == {
        "router": 24,
        "experts": 96,
        "nothing": 0,
        "random router": 0,
        "everything": 120,
        "everything, server momentum": 120,
        "everything, server Adam": 120,
        "everything, then fine-tuned": 120,
        "Ditto": 120,
        "Per-FedAvg": 120,
        "pooled data": 0,
        "router, solved": 24 + 12,  # and λ, its slope, the scale
        "router and prior, solved": 24 + 12 + 96,
        "random router, solved": 12,
        "nothing, solved": 0,
    }


def test_with_one_client_all_that_train_everything_are_the_same():
    alone = outcome("nothing", num_clients=1)
    trained = ("router", "everything", "experts", "everything, then fine-tuned", "pooled data")
    for sharing, options in [*((way, {}) for way in trained), ("Ditto", {"pull": 0.0})]:
        other = outcome(sharing, options, num_clients=1)
        assert other["accuracy"] == pytest.approx(alone["accuracy"]), sharing
        assert other["entropy"] == pytest.approx(alone["entropy"], abs=1e-4), sharing
    frozen = outcome("random router", num_clients=1)
    assert abs(frozen["entropy"] - alone["entropy"]) > 1e-3
    solved = outcome("nothing, solved", num_clients=1)
    assert outcome("router, solved", num_clients=1)["entropy"] == pytest.approx(
        solved["entropy"], abs=1e-4
    )


def test_sharing_nothing_is_training_every_client_by_itself():
    config = Config.from_flat(TINY)
    model = Model(config)
    clients = range(4)
    data = load_clients(config, clients, fit_projection(config))
    parameters = model.initial(model.names, clients)
    for server_round in range(1, 6):
        task = model.task(model.names)
        parameters = train(task, parameters, data.train, clients, server_round).parameters
    accuracy = evaluate(model.module, parameters, data.test).accuracy
    result = outcome("nothing")
    assert result["accuracy"] == pytest.approx(float(accuracy.mean()))
    assert result["std"] == pytest.approx(float(accuracy.std(correction=0)), abs=1e-6)
    assert result["worst10"] == pytest.approx(float(accuracy.min()))


def test_a_random_router_is_the_same_for_all_and_stays():
    config = Config.from_flat(TINY)
    model = Model(config)
    router = model.initial(("router.theta",), [0])["router.theta"][0]
    data = load_clients(config, range(4), fit_projection(config))
    weights = model.module.router
    loads = []
    for k in range(4):
        weights.theta.data = router
        loads.append(weights(data.test.x[k]).detach().mean(0))
    mean_load = sum(loads) / 4
    found = outcome("random router")["max_load"]
    assert found == pytest.approx(float(mean_load.max()), abs=1e-6)


def test_pooling_takes_as_many_steps_as_a_client_takes():
    # one step of all samples at once: the batch of the pool is that of all clients together
    once = {"batch_size": 16, "optimizer": "sgd", "num_server_rounds": 1, "local_epochs": 1}
    pooled = outcome("pooled data", **once)
    averaged = outcome("everything", **once)  # one step each, averaged: the same step
    assert pooled["accuracy"] == pytest.approx(averaged["accuracy"])
    assert pooled["entropy"] == pytest.approx(averaged["entropy"], abs=1e-5)
    assert pooled["unseen"] == pytest.approx(averaged["unseen"])


@pytest.mark.parametrize(
    "device",
    [
        {"noise_channel": "bit-flip", "noise_strength": "uniform(0, 0.1)"},
        {"layers": "1..3"},
        {"shots": 10},
    ],
    ids=lambda device: next(iter(device)),
)
def test_devices_that_differ_are_refused_by_ways_that_do_not_know_them(device):
    with pytest.raises(UserError, match="on devices that are alike"):
        outcome("pooled data", **device)
