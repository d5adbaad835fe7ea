"""Whole runs with noise in hidden sums over Flower's messages."""

import json

import numpy as np
import pytest
from secure_runs import CLIENTS, is_hidden, secure
from small_federation import outcome
from stopped_runs import Power, stopping_at
from test_secure_losses import losing

from qmoe_fed.config import Config
from qmoe_fed.federated.build import make_rules

NOISY = {"mechanisms": "distributed-dp", "noise_multiplier": 4.0, "num_unseen_clients": 0}


def noisy(folder, *arguments, **changes):
    return secure(folder, *arguments, **{**NOISY, **changes})


def account(rounds, **changes):
    """Return the ε that a run of so many rounds is to state."""
    flat = {"num-clients": CLIENTS, "num-server-rounds": 3, **NOISY, **changes}
    flat = {name.replace("_", "-"): value for name, value in flat.items()}
    (mechanism,) = make_rules(Config.from_flat(flat)).mechanisms
    for number in range(1, rounds + 1):
        mechanism.before_round(number)
    return mechanism.metrics()["epsilon"]


def test_a_run_states_what_it_spends_and_tells_no_more(tmp_path):
    grid, folder = noisy(tmp_path / "run", 2, clip="adaptive", noise_multiplier=1.0)
    result, (first, *rounds) = outcome(folder), outcome(folder)["rounds"]
    epsilons = [r["train"]["epsilon"] for r in rounds]
    stated = [account(n, clip="adaptive", noise_multiplier=1.0) for n in (1, 2, 3)]
    assert epsilons == pytest.approx(stated)
    assert result["summary"]["epsilon"] == epsilons[-1]
    assert result["summary"]["noise_source"] == "system"
    assert result["summary"]["rounds_counted"] == 3
    assert not any("train-loss" in r["train"] for r in rounds)
    for r in (first, *rounds):
        assert 0 <= r["accuracy"]["mean"] <= 1
    norms = [r["train"]["clip-norm"] for r in rounds]
    kinds = {m.metadata.message_id: m.metadata.message_type for m in grid.sent}
    told = [
        float(np.frombuffer(m.content["hidden"]["clip"])[0])
        for m in grid.sent
        if m.metadata.message_type == "train"
    ]
    assert told[::2] == [0.5, *norms[:-1]]
    asked = ("train", "evaluate", "query.hidden")
    replies = [m for m in grid.received if kinds[m.metadata.reply_to_message_id] in asked]
    assert all(is_hidden(reply) for reply in replies)


def test_noise_of_the_seed_gives_the_same_on_any_number_of_hosts(tmp_path):
    one, other = (
        outcome(noisy(tmp_path / str(n), n, noise_source="seed", num_server_rounds=2)[1])
        for n in (1, 3)
    )
    for name, values in one["shared"].items():
        np.testing.assert_allclose(values, other["shared"][name], rtol=0, atol=1e-6)
    for a, b in zip(one["rounds"], other["rounds"], strict=True):
        assert a["accuracy"]["mean"] == pytest.approx(b["accuracy"]["mean"], abs=1e-6)


def test_a_round_with_fewer_survivors_than_the_noise_needs_opens_nothing_and_is_spent(tmp_path):
    lost = {(1, "shares"): [2, 5], (2, "shares"): [2, 5, 6]}
    _, folder = noisy(tmp_path / "run", CLIENTS, losing(lost), num_server_rounds=2)
    rounds = outcome(folder)["rounds"][1:]
    assert [r["train"]["round-counted"] for r in rounds] == [1, 0]
    assert "shares of 9 clients came" in rounds[1]["rejections"][0]["reason"]
    stated = [account(n, num_server_rounds=2) for n in (1, 2)]
    assert [r["train"]["epsilon"] for r in rounds] == pytest.approx(stated)


def test_a_run_that_goes_on_knows_what_was_spent(tmp_path):
    folder = tmp_path / "run"
    with pytest.raises(Power):
        noisy(folder, 2, stopping_at(3))
    _, folder = noisy(folder, 3, resume=True)
    result = outcome(folder)
    assert result["summary"]["epsilon"] == pytest.approx(account(3))
    assert result["summary"]["rounds_counted"] == 3
    assert json.loads((folder / "config.json").read_text())["settings"]["noise-source"] == "system"


def test_the_budget_ends_a_run(tmp_path):
    _, folder = noisy(tmp_path / "run", max_epsilon=account(2) + 1e-9)
    summary = outcome(folder)["summary"]
    assert (summary["status"], summary["rounds"]) == ("stopped", 2)
    assert summary["epsilon"] == pytest.approx(account(2))
    assert "round 3 would spend" in summary["reason"]
