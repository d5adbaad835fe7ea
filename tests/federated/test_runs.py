"""Whole runs in this process: strategies, privacy, ways of sharing, models."""

import random
import sys
from pathlib import Path

import numpy as np
import pytest
from small_federation import federate, outcome
from test_transport import assert_same_outcome


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


def test_the_privacy_budget_stops_the_run_before_it_is_exceeded(tmp_path):
    settings = {"mechanisms": "central-dp", "noise_multiplier": 2.0, "quorum": 0.0}
    settings |= {"noise_source": "seed", "num_server_rounds": 20}
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
    assert summary["noise_source"] == "seed"
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
