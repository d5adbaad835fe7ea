"""The ways of sharing: what each costs, and where they must coincide."""

import pytest

from qmoe_fed.config import Config
from qmoe_fed.data import fit_projection, load_clients
from qmoe_fed.errors import UserError
from qmoe_fed.experiments.measures.sharing import METHODS, shared
from qmoe_fed.federated.model import Model
from qmoe_fed.learning import evaluate, train

TINY = {
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


def outcome(sharing, **changes):
    changes = {key.replace("_", "-"): value for key, value in changes.items()}
    (row,) = shared({**TINY, **changes}, sharing).rows
    return row


def test_what_each_way_of_sharing_sends():
    sent = {sharing: outcome(sharing)["bytes_up"] for sharing in METHODS}
    assert sent == {
        "router": 24,
        "everything": 120,
        "experts": 96,
        "nothing": 0,
        "everything, then fine-tuned": 120,
        "random router": 0,
        "pooled data": 0,
    }


def test_with_one_client_all_that_train_everything_are_the_same():
    alone = outcome("nothing", num_clients=1)
    trained = ("router", "everything", "experts", "everything, then fine-tuned", "pooled data")
    for sharing in trained:
        other = outcome(sharing, num_clients=1)
        assert other["accuracy"] == pytest.approx(alone["accuracy"]), sharing
        assert other["entropy"] == pytest.approx(alone["entropy"], abs=1e-4), sharing
    frozen = outcome("random router", num_clients=1)
    assert abs(frozen["entropy"] - alone["entropy"]) > 1e-3


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


def test_the_share_of_the_settings_does_not_matter():
    for sharing in ("router", "random router"):
        assert outcome(sharing, share="none") == outcome(sharing)


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
        outcome("random router", **device)
