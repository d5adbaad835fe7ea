"""A run that is stopped and gone on with ends like one that was not, bit for bit."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from flwr.app import Error, Message
from flwr.serverapp.strategy import FedAvg
from safetensors.numpy import load_file, save_file
from small_federation import SMALL, SpyGrid, federate, outcome

from qmoe_fed.errors import UserError
from qmoe_fed.federated.flower.grid import FIRST_NODE
from qmoe_fed.results import checkpoint, load_run
from strategies import CentralDP, Mechanism, RouterStrategy

APP = Path(__file__).parents[2] / "simulations" / "moons_fed"
PRIVATE = {"mechanisms": "central-dp", "noise_multiplier": 2.0, "quorum": 0.0}
FEDAVG = "flwr.serverapp.strategy:FedAvg"


class Power(BaseException):
    """The power goes; nothing of ours catches this."""


def stopping_at(count: int, message_type: str = "train"):
    """Return a grid that stops the run instead of sending messages of a type the n-th time."""

    class Stopping(SpyGrid):
        left = count

        def deliver(self, messages, timeout):
            if messages[0].metadata.message_type == message_type:
                self.left -= 1
                if not self.left:
                    raise Power
            return super().deliver(messages, timeout)

    return Stopping


def stop(folder: Path, count: int, message_type: str = "train", supernodes: int = 2, **settings):
    with pytest.raises(Power):
        federate(folder, supernodes, stopping_at(count, message_type), **settings)


def timeless(folder: Path) -> dict:
    """Return all a run left, as text where it is text, without the times."""
    result = outcome(folder)
    result["summary"].pop("wall_seconds")
    for record in result["rounds"]:
        record.pop("seconds")
    tables = {name: (folder / name).read_text() for name in ("clients.json", "unseen.json")}
    return {**result, **tables}


def assert_same_bits(a: dict, b: dict) -> None:
    for name, values in a["shared"].items():
        assert values.tobytes() == b["shared"][name].tobytes()
    assert a["experts"].keys() == b["experts"].keys()
    for client, experts in a["experts"].items():
        for name, values in experts.items():
            assert values.tobytes() == b["experts"][client][name].tobytes(), (client, name)
    for name in ("rounds", "summary", "clients.json", "unseen.json"):
        assert a[name] == b[name]


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"keep_optimizer_state": True, "fraction_train": 0.4},
        {"server_step": "adam", "server_learning_rate": 0.1},
        {"server_step": "momentum", "evaluate_every": 3, "optimizer": "momentum"},
        PRIVATE,
        {**PRIVATE, "fraction_train": 0.5, "sampling": "poisson", "max_epsilon": 2.9},
        {"share": "all", "keep_optimizer_state": True},
        {"share": "none"},
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


@pytest.mark.parametrize(("before", "after"), [(2, 3), (3, 1), (1, 8), (8, 2)])
@pytest.mark.parametrize("settings", [{}, {"keep_optimizer_state": True, "fraction_train": 0.2}])
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


SHORT = {"num_server_rounds": 4, "checkpoint_every": 1}


@pytest.fixture
def stopped(tmp_path):
    """A run stopped in its third round."""
    stop(tmp_path / "run", 3, **SHORT)
    return tmp_path / "run"


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
        patch.setattr("qmoe_fed.federated.finish.print_summary", lambda summary: 1 / 0)
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

    with pytest.raises(RuntimeError, match="not one round of training counted, of 4 tried"):
        federate(tmp_path / "run", grid_type=NobodyAnswers, **SHORT)
    assert not checkpoint.exists(tmp_path / "run")


class FailingHost(SpyGrid):
    """A host that cannot write its second checkpoint, in a run that then stops."""

    asked = 0

    def deliver(self, messages, timeout):
        kind = messages[0].metadata.message_type
        self.asked += kind == "query.checkpoint"
        if self.asked == 2 and kind == "train":
            raise Power
        replies = super().deliver(messages, timeout)
        if self.asked == 2 and kind == "query.checkpoint":
            replies[1] = Message(Error(code=0, reason="disk full"), reply_to=messages[1])
        return replies


def test_if_a_host_fails_the_checkpoint_before_stays(tmp_path, caplog):
    whole = timeless(federate(tmp_path / "whole", 2, **SHORT)[1])
    with pytest.raises(Power):
        federate(tmp_path / "run", 2, FailingHost, **SHORT)
    assert "no checkpoint after round 2: disk full" in caplog.text
    assert checkpoint.read_current(tmp_path / "run")[1]["round"] == 1
    federate(tmp_path / "run", 2, resume=True, **SHORT)
    assert_same_bits(whole, timeless(tmp_path / "run"))


def test_a_private_round_is_never_released_twice(tmp_path):
    """Not even if a host could not write down that it was: then there is no going on."""

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
    with pytest.raises(UserError, match="left no checkpoint"):
        federate(tmp_path / "other", 2, resume=True, **PRIVATE, **SHORT)


class Forgetful(Mechanism):
    """Counts its rounds and does not say so."""

    def before_round(self, server_round):
        self.rounds = getattr(self, "rounds", 0) + 1


class HalfSaved(Forgetful):
    """Does not restore what it saves."""

    def state_dict(self):
        return {"rounds": self.rounds}


class Halves(Mechanism):
    """Remembers nothing on the server."""

    def on_client(self, updates, clients, server_round, seed):
        return updates / 2


class LikeCentralDP(CentralDP):
    pass


class Drifting(RouterStrategy):
    """Remembers more than what it inherits knows of."""

    drift = 0.0


class Awkward(RouterStrategy):
    def state_dict(self):
        return {"history": [1, 2]}

    def load_state_dict(self, state):
        raise NotImplementedError


class LikeFedAvg(FedAvg):
    pass


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"strategy": "flwr.serverapp.strategy:FedAdam"}, "FedAdam"),
        ({"strategy": "flwr.serverapp.strategy:FedAvgM"}, "FedAvgM"),
        ({"strategy": "test_resume:LikeFedAvg"}, "LikeFedAvg"),
        ({"strategy": "test_resume:Drifting"}, "Drifting"),
        ({"mechanisms": "test_resume:Forgetful"}, "Forgetful"),
        ({"mechanisms": "test_resume:HalfSaved"}, "HalfSaved"),
        ({**PRIVATE, "mechanisms": "test_resume:LikeCentralDP"}, "LikeCentralDP"),
        ({"checkpoint_every": 0}, ""),
    ],
)
def test_what_would_be_forgotten_is_never_gone_on_without(tmp_path, capsys, settings, name):
    settings = {**SHORT, **settings}
    stop(tmp_path / "run", 3, **settings)
    expected = f"cannot go on: {name} does not define state_dict" if name else "round 0/4"
    assert expected in capsys.readouterr().out
    with pytest.raises(UserError, match="left no checkpoint"):
        federate(tmp_path / "run", 2, resume=True, **settings)


def test_a_client_half_needs_no_state(tmp_path):
    settings = {**SHORT, "mechanisms": "test_resume:Halves"}
    whole = timeless(federate(tmp_path / "whole", 2, **settings)[1])
    stop(tmp_path / "run", 3, **settings)
    federate(tmp_path / "run", 2, resume=True, **settings)
    assert_same_bits(whole, timeless(tmp_path / "run"))


def test_a_state_that_cannot_be_written_ends_the_run_before_its_first_round(tmp_path):
    with pytest.raises(UserError, match=r"history is \[1, 2\], expected a number or a tensor"):
        federate(tmp_path / "run", strategy="test_resume:Awkward")
    assert not (tmp_path / "run" / "metrics.jsonl").exists()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"learning_rate": 0.1}, "learning-rate is 0.05 there and cannot be changed"),
        ({"num_server_rounds": 5}, "num-server-rounds is 4 there"),
    ],
)
def test_other_settings_are_refused(stopped, settings, message):
    before = {file: file.read_bytes() for file in stopped.rglob("*") if file.is_file()}
    with pytest.raises(UserError, match=message):
        federate(stopped, 2, resume=True, **{**SHORT, **settings})
    assert before == {file: file.read_bytes() for file in stopped.rglob("*") if file.is_file()}


def change(file: Path, old: str, new: str) -> None:
    assert old in file.read_text()
    file.write_text(file.read_text().replace(old, new))


def of_another_round(file: Path) -> None:
    save_file({**load_file(file), "round": np.array(1)}, file)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda run: shutil.rmtree(run), "is not the directory of a run"),
        (lambda run: shutil.rmtree(run / "checkpoint"), r"no checkpoint \(checkpoint-every = 1\)"),
        (lambda run: change(run / "config.json", '"torch": "', '"torch": "0.'), "with torch 0."),
        (lambda run: change(run / "summary.json", "failed", "completed"), "is complete"),
        (lambda run: (run / "checkpoint/current.json").write_text("{"), "current.json is damaged"),
        (lambda run: (run / "checkpoint/b/host-1.safetensors").unlink(), "cannot read .*host-1"),
        (lambda run: os.truncate(run / "checkpoint/b/host-0.safetensors", 900), "cannot read"),
        (lambda run: of_another_round(run / "checkpoint/b/host-0.safetensors"), "is of round 1, b"),
        (lambda run: (run / "metrics.jsonl").write_text("{}\n"), "1 rounds are left of 2"),
    ],
)
def test_what_is_damaged_or_cannot_go_on_is_refused(stopped, damage, message):
    damage(stopped)
    grids = []

    class Kept(SpyGrid):
        def __init__(self, *args):
            super().__init__(*args)
            grids.append(self)

    with pytest.raises(UserError, match=message):
        federate(stopped, 2, Kept, resume=True, **SHORT)
    assert not any(message.metadata.message_type == "train" for message in grids[0].sent)


def test_opening_a_stopped_run_says_how_to_go_on(stopped):
    for kind in ("failed", "has not finished"):
        with pytest.raises(UserError, match=f"{kind}.*; go on with it: .* --resume {stopped}$"):
            load_run(stopped)
        (stopped / "summary.json").unlink(missing_ok=True)


def test_a_run_that_is_still_going_on_is_left_alone(stopped):
    before = {file: file.read_bytes() for file in stopped.rglob("*") if file.is_file()}
    with checkpoint.alone(stopped), pytest.raises(UserError, match="a run is still going on in"):
        federate(stopped, 2, resume=True, **SHORT)
    assert before == {file: file.read_bytes() for file in stopped.rglob("*") if file.is_file()}
    federate(stopped, 2, resume=True, **SHORT)


def test_private_parameters_stay_on_their_host(stopped):
    grid, _ = federate(stopped, 2, resume=True, **SHORT)
    told = [
        m for m in grid.sent if m.metadata.message_type in ("query.restore", "query.checkpoint")
    ]
    assert len(told) == 2 + 2 * 2
    answers = {reply.metadata.reply_to_message_id: reply for reply in grid.received}
    for message in told:
        assert not message.content.array_records
        assert not answers[message.metadata.message_id].content
    assert FIRST_NODE in {m.metadata.dst_node_id for m in told}


def cli(*options: str) -> list[str]:
    return [sys.executable, "-m", "qmoe_fed.cli", "run", str(APP), "--supernodes", "2", *options]


def lines_of(file: Path) -> int:
    return file.read_bytes().count(b"\n") if file.exists() else 0


@pytest.mark.parametrize(
    ("engine", "rounds", "number"),
    [
        ("local", 40, signal.SIGKILL),
        ("local", 40, signal.SIGINT),
        pytest.param("flower", 15, signal.SIGINT, marks=pytest.mark.slow),
    ],
)
def test_stopped_by_a_signal_and_gone_on_with_from_the_command_line(
    tmp_path, engine, rounds, number
):
    settings = {**SMALL, "engine": engine, "num-server-rounds": rounds, "checkpoint-every": 3}
    pairs = " ".join(
        f"{k}={str(v).lower() if isinstance(v, bool) else repr(v)}" for k, v in settings.items()
    )
    whole, run = tmp_path / "whole", tmp_path / "run"
    asked = ["--run-config", pairs, "--output-dir"]
    subprocess.run(cli(*asked, str(whole)), check=True)
    process = subprocess.Popen(cli(*asked, str(run)), stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while lines_of(run / "metrics.jsonl") < 9:
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert checkpoint.exists(run)
    if number == signal.SIGKILL:
        assert process.returncode == -number
        assert not (run / "summary.json").exists()
    else:
        assert process.returncode == 128 + number
        last = f"go on with: qmoe-fed run {APP} --resume {run} --supernodes 2\n"
        assert err == f"stopped; results so far: {run}\n{last}"
    done = subprocess.run(cli("--resume", str(run)), capture_output=True, text=True, check=True)
    assert "going on after round" in done.stdout
    assert_same_bits(timeless(whole), timeless(run))
