"""Whole runs in this process: strategies, privacy, failures, results."""

import json
import random
import sys
from pathlib import Path

import numpy as np
import pytest
from flwr.app import Array, Error, Message
from small_federation import SpyGrid, federate, outcome
from test_transport import assert_same_outcome

from qmoe_fed.errors import UserError
from qmoe_fed.federated.flower.grid import FIRST_NODE


@pytest.mark.parametrize(
    ("ours", "theirs", "options"),
    [
        ("mean", "FedAvg", ""),
        ("median", "FedMedian", ""),
        ("trimmed-mean", "FedTrimmedAvg", "beta = 0.2"),
    ],
)
def test_a_stock_flower_strategy_gives_our_numbers(tmp_path, ours, theirs, options):
    a = outcome(federate(tmp_path / "ours", aggregator=ours, trim_fraction=0.2)[1])
    path = f"flwr.serverapp.strategy:{theirs}"
    grid, folder = federate(
        tmp_path / "theirs", supernodes=2, strategy=path, strategy_options=options
    )
    assert_same_outcome(a, outcome(folder), tolerance=2e-6)
    train = [m for m in grid.sent if m.metadata.message_type == "train"]
    assert len(train) == 3 * 2  # packed per host, not per client


@pytest.mark.parametrize("name", ["Krum", "FedAdam", "FedAvgM", "FedProx"])
def test_other_stock_strategies_run_unchanged(tmp_path, name):
    path = f"flwr.serverapp.strategy:{name}"
    options = "proximal_mu = 5.0" if name == "FedProx" else ""
    result = outcome(federate(tmp_path / name, strategy=path, strategy_options=options)[1])
    assert result["summary"]["rounds_counted"] == 3
    if name == "FedProx":  # the clients apply the term Flower only announces
        ours = outcome(federate(tmp_path / "ours", proximal_mu=5.0)[1])
        assert_same_outcome(ours, result, tolerance=2e-6)
        plain = outcome(federate(tmp_path / "plain")[1])
        moved = np.abs(plain["shared"]["router.theta"] - result["shared"]["router.theta"])
        assert moved.max() > 1e-3


def test_stock_sampling_is_seeded(tmp_path):
    path = "flwr.serverapp.strategy:FedAvg"
    random.seed(1)
    a = outcome(federate(tmp_path / "a", strategy=path, fraction_train=0.5)[1])
    random.seed(2)
    b = outcome(federate(tmp_path / "b", strategy=path, fraction_train=0.5)[1])
    assert_same_outcome(a, b, tolerance=0)


class BrokenClients(SpyGrid):
    """Hosts that answer training with an error in some rounds."""

    broken_rounds = (2,)

    def deliver(self, messages, timeout):
        replies = super().deliver(messages, timeout)
        return [
            Message(Error(code=0, reason="out of order"), reply_to=message)
            if message.metadata.message_type == "train"
            and message.content["config"]["server-round"] in self.broken_rounds
            else reply
            for message, reply in zip(messages, replies, strict=True)
        ]


class AlwaysBroken(BrokenClients):
    broken_rounds = (1, 2, 3)


def test_a_round_that_fails_leaves_the_router_as_it_was_and_the_run_goes_on(tmp_path):
    _, folder = federate(tmp_path / "run", grid_type=BrokenClients)
    result = outcome(folder)
    assert result["summary"]["status"] == "completed"
    assert result["summary"]["rounds_counted"] == 2
    failed = result["rounds"][2]
    assert failed["train"]["round-counted"] == 0
    assert [r["client"] for r in failed["rejections"]] == [0, 1, 2, 3, 4, 5]
    assert "out of order" in failed["rejections"][0]["reason"]


def without_metrics(reply):
    reply.content.pop("metrics")


def without_arrays(reply):
    reply.content.pop("arrays", None)


def unreadable(reply):
    for name, array in reply.content.get("arrays", {}).items():
        reply.content["arrays"][name] = Array(array.dtype, array.shape, array.stype, b"junk")


def of_other_clients(reply):
    reply.content["metrics"]["client"] = [0, 2, 4]


def of_no_list(reply):
    reply.content["metrics"]["client"] = 3


def with_a_short_metric(reply):
    name = next(name for name in reply.content["metrics"] if name != "client")
    reply.content["metrics"][name] = [0.5]


def without_a_metric(reply):
    name = next(name for name in reply.content["metrics"] if name != "client")
    del reply.content["metrics"][name]


@pytest.mark.parametrize("message_type", ["train", "evaluate"])
@pytest.mark.parametrize(
    "damage",
    [
        without_metrics,
        without_arrays,
        unreadable,
        of_other_clients,
        of_no_list,
        with_a_short_metric,
        without_a_metric,
    ],
)
def test_a_host_whose_answers_are_damaged_does_not_end_the_run(tmp_path, damage, message_type):
    class DamagedHost(SpyGrid):
        def deliver(self, messages, timeout):
            replies = super().deliver(messages, timeout)
            for message, reply in zip(messages, replies, strict=True):
                second = message.metadata.dst_node_id == FIRST_NODE + 1
                if message.metadata.message_type == message_type and second:
                    damage(reply)
            return replies

    _, folder = federate(tmp_path / "run", supernodes=2, grid_type=DamagedHost, num_server_rounds=2)
    result = outcome(folder)
    assert result["summary"]["status"] == "completed"
    assert result["summary"]["rounds_counted"] == 2
    assert result["summary"]["bytes_up_per_client_round"] == 24
    assert np.isfinite(result["summary"]["accuracy_mean"])
    left_out = [rejection["client"] for rejection in result["rounds"][1]["rejections"]]
    if message_type == "train":
        assert set(left_out) >= {1, 3, 5}
    else:
        of_scores = damage not in (without_arrays, unreadable)  # a score has no arrays
        scored = json.loads((folder / "clients.json").read_text())["client"]
        assert scored == ([0, 2, 4] if of_scores else list(range(6)))


def test_a_run_in_which_nothing_counts_fails_and_says_so(tmp_path):
    with pytest.raises(
        RuntimeError, match=r"not one round .* of 1 tried .*client 0: .*out of order"
    ):
        federate(tmp_path / "run", grid_type=AlwaysBroken)
    assert '"failed"' in (tmp_path / "run" / "summary.json").read_text()


def test_the_privacy_budget_stops_the_run_before_it_is_exceeded(tmp_path):
    settings = {"mechanisms": "central-dp", "noise_multiplier": 2.0, "quorum": 0.0}
    settings["num_server_rounds"] = 20
    free = outcome(federate(tmp_path / "free", **settings)[1])
    epsilons = [r["train"]["epsilon"] for r in free["rounds"][1:]]
    assert all(np.diff(epsilons) > 0)
    budget = epsilons[4] + 1e-6
    result = outcome(federate(tmp_path / "run", max_epsilon=budget, **settings)[1])
    summary = result["summary"]
    assert summary["status"] == "stopped"
    assert summary["rounds"] == 5
    assert summary["epsilon"] == pytest.approx(epsilons[4])
    assert summary["epsilon"] <= budget
    assert result["experts"].keys() == set(range(6))
    assert summary["unseen_accuracy_shared"] is not None


@pytest.mark.parametrize("share", ["router", "experts", "all", "none"])
def test_every_way_of_sharing_completes(tmp_path, share):
    summary = outcome(federate(tmp_path / "run", share=share)[1])["summary"]
    travelling = {"router": 6, "experts": 24, "all": 30, "none": 0}
    assert summary["bytes_up_per_client_round"] == 4 * travelling[share]
    assert 0 <= summary["accuracy_mean"] <= 1


def test_sharing_nothing_makes_unseen_clients_start_from_scratch(tmp_path):
    unseen = outcome(federate(tmp_path / "run", share="none")[1])["summary"]["unseen"]
    assert unseen["shared"] == unseen["scratch"]


@pytest.mark.parametrize("router", ["linear", "mlp", "trig"])
def test_every_router_by_name(tmp_path, router):
    summary = outcome(federate(tmp_path / "run", router=router)[1])["summary"]
    assert summary["status"] == "completed"


def test_own_router_in_a_federation(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "models"))
    summary = outcome(federate(tmp_path / "run", router="own_modules:CosineRouter")[1])["summary"]
    sys.modules.pop("own_modules")
    assert summary["router_parameters"] == 8


def test_digits_in_a_federation(tmp_path):
    settings = {"dataset": "digits", "qubits": 4, "num_experts": 4, "dirichlet_alpha": 1.0}
    summary = outcome(federate(tmp_path / "run", num_server_rounds=4, **settings)[1])["summary"]
    assert summary["router_parameters"] == 12
    assert summary["accuracy_mean"] > 0.3


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num-client": 3}, "Did you mean 'num-clients'"),
        ({"num-clients": 0}, "num-clients = 0: must be at least 1"),
        ({"num-clients": "many"}, "expected int, got str"),
        ({"seed": 2**63}, "seed = 9223372036854775808: must be less than"),
        ({"noise": float("inf")}, "noise = inf: must be a finite number"),
        ({"learning-rate": float("nan")}, "learning-rate = nan: must be a finite number"),
        ({"router": "torch.nn:Linear"}, "expected weights that are not negative and sum to 1"),
        ({"router": "torch.nn:Bilinear"}, r"cannot be built with \(2, 4\): .*out_features"),
        (
            {"router": "torch.nn:Identity"},
            r"returns shape \(20, 2\) for x of shape \(20, 2\): expected .*\(20, 4\)",
        ),
        (
            {"expert": "torch.nn:Identity", "dataset": "digits", "qubits": 4},
            r"Identity' returns shape \(\d+, 4\) .*: expected one score per class, \(\d+, 10\)",
        ),
        ({"expert": "torch.nn:Linear", "expert-options": "bias = 3, big = 1"}, "bias = 3, big"),
        ({"num-experts": 8}, "2 qubits have only 4 basis states"),
        ({"circuit-engine": "pennylane:no.device", "execution": "serial"}, "no.device"),
        ({"train-samples": 0}, "train-samples = 0"),
        ({"mechanisms": "central-pd"}, "Did you mean 'central-dp'"),
        ({"strategy": "strategies:Nothing"}, "Nothing"),
        ({"device": "cuba"}, "device"),
        ({"dataset": "digits", "num-clients": 5000}, "5003"),
        (
            {"dataset": "digits", "num-clients": 177, "unseen-samples": "4,8"},
            "asks for 8 labelled samples, but an unseen client has only 6",
        ),
    ],
)
def test_bad_settings_are_refused_before_any_client_starts(tmp_path, settings, message):
    folder = tmp_path / "run"
    with pytest.raises(UserError, match=message):
        federate(folder, grid_type=NoClientMayBeCalled, **settings)
    assert not (folder / "metrics.jsonl").exists()


class NoClientMayBeCalled(SpyGrid):
    def deliver(self, messages, timeout):
        raise AssertionError("a client was called")


def test_an_output_directory_that_holds_a_run_is_refused(tmp_path):
    federate(tmp_path / "run", num_server_rounds=1)
    with pytest.raises(UserError, match="already holds a run"):
        federate(tmp_path / "run", num_server_rounds=1)


class MissingNode(SpyGrid):
    def get_node_ids(self):
        return super().get_node_ids()[:1]


def test_a_missing_supernode_ends_the_wait_with_the_command_to_type(tmp_path):
    with pytest.raises(UserError, match=r'1 of 3 SuperNodes.*"num-supernodes=3 '):
        federate(tmp_path / "run", supernodes=3, grid_type=MissingNode, supernode_timeout=0.3)


def test_a_supernode_that_cannot_join_is_quoted(tmp_path):
    class Failing(SpyGrid):
        def deliver(self, messages, timeout):
            return [Message(Error(code=0, reason="no memory"), reply_to=m) for m in messages]

    with pytest.raises(UserError, match="could not join: no memory"):
        federate(tmp_path / "run", grid_type=Failing, supernode_timeout=0.3)


@pytest.mark.parametrize(
    ("places", "message"),
    [
        ([(1, 2), (2, 2)], "partition-id 2 of num-partitions 2, another that there are 2"),
        ([(0, 2), (1, 3)], "partition-id 1 of num-partitions 3, another that there are 2"),
        ([(0, 2), (0, 2)], "two SuperNodes say they are partition-id 0"),
        ([(0, 0)], "partition-id 0 of num-partitions 0; give"),
    ],
)
def test_supernodes_whose_places_do_not_fit_together_are_refused(tmp_path, places, message):
    class Misplaced(SpyGrid):
        def __init__(self, *args):
            super().__init__(*args)
            for context, (partition, total) in zip(self.contexts.values(), places, strict=True):
                context.node_config |= {"partition-id": partition, "num-partitions": total}

    with pytest.raises(UserError, match=message):
        federate(tmp_path / "run", len(places), grid_type=Misplaced, supernode_timeout=0.3)
