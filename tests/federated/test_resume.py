"""A run that is stopped and gone on with ends like one that was not, bit for bit."""

import json
import os

import numpy as np
import pytest
from safetensors.numpy import load_file
from small_federation import SpyGrid, federate
from stopped_runs import (
    PRIVATE,
    SHORT,
    FailingHost,
    Power,
    assert_same_bits,
    stop,
    stopping_at,
    timeless,
)

from qmoe_fed.results import checkpoint

FEDAVG = "flwr.serverapp.strategy:FedAvg"


PARTLY = {"keep_optimizer_state": True, "fraction_train": 0.2}


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"keep_optimizer_state": True, "fraction_train": 0.4},
        {"server_step": "adam", "server_learning_rate": 0.1},
        {"server_step": "momentum", "evaluate_every": 3, "optimizer": "momentum"},
        PRIVATE,
        {**PRIVATE, "fraction_train": 0.5, "sampling": "poisson", "max_epsilon": 2.9},
        {**PRIVATE, "clip": "adaptive", "num_clients": 21, "noise_multiplier": 1.5},
        {**PRIVATE, "mechanisms": "local-dp", "fraction_train": 0.5},
        {"share": "all", "keep_optimizer_state": True},
        {"share": "none"},
        {"expert_fit": "solve", "share": "prior", "server_step": "adam"},
        {"strategy": FEDAVG, "fraction_train": 0.5},
    ],
    ids=lambda settings: " ".join(map(str, settings.values())) or "plain",
)
def test_stopped_and_gone_on_with_equals_never_stopped(tmp_path, settings):
    settings = {"num_server_rounds": 6, "checkpoint_every": 2, **settings}
    whole = timeless(federate(tmp_path / "whole", 2, **settings)[1])
    folder = tmp_path / "run"
    stop(folder, 4, **settings)
    assert json.loads((folder / "summary.json").read_text())["status"] == "failed"
    stop(folder, 2 if "mechanisms" in settings else 3, resume=True, **settings)  # and again
    grid, _ = federate(folder, 2, resume=True, **settings)
    assert_same_bits(whole, timeless(folder))
    again = sum(m.metadata.message_type == "train" for m in grid.sent)
    assert 0 < again < 6 * 2
    assert not (folder / "checkpoint").exists()
    if settings.get("max_epsilon"):
        assert whole["summary"]["status"] == "stopped"
        assert 0 < whole["summary"]["rounds"] < 6


@pytest.mark.parametrize(
    ("before", "after", "settings"), [(3, 1, {}), (1, 8, {}), (2, 3, PARTLY), (8, 2, PARTLY)]
)
def test_another_number_of_supernodes_goes_on(tmp_path, before, after, settings):
    settings = {"num_server_rounds": 4, "checkpoint_every": 1, "execution": "serial", **settings}
    whole = timeless(federate(tmp_path / "whole", before, **settings)[1])
    stop(tmp_path / "run", 3, supernodes=before, **settings)
    result = timeless(federate(tmp_path / "run", after, resume=True, **settings)[1])
    assert (whole["summary"].pop("supernodes"), result["summary"].pop("supernodes")) == (
        before,
        after,
    )
    assert_same_bits(whole, result)


def test_a_run_that_fails_after_its_last_round_goes_on_from_there(tmp_path):
    whole = timeless(federate(tmp_path / "whole", 2, **SHORT)[1])
    stop(tmp_path / "run", 1, "evaluate.unseen", **SHORT)
    grid, folder = federate(tmp_path / "run", 2, resume=True, **SHORT)
    assert_same_bits(whole, timeless(folder))
    assert not any(m.metadata.message_type == "train" for m in grid.sent)


def test_experts_that_other_hosts_had_written_do_not_stay(tmp_path, monkeypatch):
    settings = {**SHORT, "num_server_rounds": 2, "execution": "serial"}
    whole = timeless(federate(tmp_path / "whole", 1, **settings)[1])
    with monkeypatch.context() as patch:
        patch.setattr("qmoe_fed.federated.flower.finish.print_summary", lambda summary: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            federate(tmp_path / "run", 3, **settings)
    folder = federate(tmp_path / "run", 1, resume=True, **settings)[1]
    assert [file.name for file in (folder / "experts").iterdir()] == ["host-0.safetensors"]
    assert_same_bits(whole, timeless(folder))


@pytest.mark.parametrize("moment", range(7, 12))
def test_a_kill_while_a_checkpoint_is_written_leaves_one_whole(tmp_path, monkeypatch, moment):
    """Files 7 to 10 are those of the second checkpoint: two hosts', the server's, current.json."""
    whole = timeless(federate(tmp_path / "whole", 2, **SHORT)[1])
    left, replace = moment, os.replace

    def killed(source, target):
        nonlocal left
        left -= 1
        if left <= 0:
            raise Power
        replace(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", killed)
        with pytest.raises(Power):
            federate(tmp_path / "run", 2, **SHORT)
    going_on = checkpoint.read_current(tmp_path / "run")[1]["round"]
    assert going_on == (1 if moment <= 10 else 2)
    federate(tmp_path / "run", 2, resume=True, **SHORT)
    assert_same_bits(whole, timeless(tmp_path / "run"))


def test_a_run_in_which_nothing_counted_has_nothing_to_go_on_with(tmp_path):
    class NobodyAnswers(SpyGrid):
        def deliver(self, messages, timeout):
            replies = super().deliver(messages, timeout)
            return [] if messages[0].metadata.message_type == "train" else replies

    with pytest.raises(RuntimeError, match="not one round of training counted, of 2 tried"):
        federate(tmp_path / "run", grid_type=NobodyAnswers, **SHORT)
    assert not checkpoint.exists(tmp_path / "run")


def test_if_a_host_fails_the_checkpoint_before_stays(tmp_path, caplog):
    whole = timeless(federate(tmp_path / "whole", 2, **SHORT)[1])
    with pytest.raises(Power):
        federate(tmp_path / "run", 2, FailingHost, **SHORT)
    assert "no checkpoint after round 2: host 1: disk full" in caplog.text
    assert checkpoint.read_current(tmp_path / "run")[1]["round"] == 1
    federate(tmp_path / "run", 2, resume=True, **SHORT)
    assert_same_bits(whole, timeless(tmp_path / "run"))


def test_a_private_round_is_never_released_twice(tmp_path):
    """Not even if a host could not write down that it was."""

    class Released(stopping_at(3)):
        def deliver(self, messages, timeout):
            if messages[0].metadata.message_type == "evaluate" and len(self.sent) > 4:
                released = messages[0].content["arrays"]["router.theta"].numpy()
                saved = load_file(checkpoint.read_current(folder)[0] / checkpoint.SERVER)
                np.testing.assert_array_equal(saved["shared.router.theta"], released)
            return super().deliver(messages, timeout)

    folder = tmp_path / "run"
    with pytest.raises(Power):
        federate(folder, 2, Released, **PRIVATE, num_server_rounds=4, checkpoint_every=10)
    assert checkpoint.read_current(folder)[1]["round"] == 2
    with pytest.raises(Power):
        federate(tmp_path / "other", 2, FailingHost, **PRIVATE, **SHORT)
    assert checkpoint.read_current(tmp_path / "other")[1]["rounds"] == [2, 1]
    grid, _ = federate(tmp_path / "other", 2, resume=True, **PRIVATE, **SHORT)
    trained = [m for m in grid.sent if m.metadata.message_type == "train"]
    assert {m.content["config"]["server-round"] for m in trained} == {3, 4}
