"""What cannot go on is refused, and what is private stays on its host."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from small_federation import SpyGrid, federate
from stopped_runs import SHORT, stop

from qmoe_fed.errors import UserError
from qmoe_fed.federated.flower.grid import FIRST_NODE
from qmoe_fed.results import checkpoint, load_run


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


def without(file, group):
    """Leave one tensor of a group out."""
    tensors = load_file(file)
    del tensors[next(name for name in tensors if name.startswith(group))]
    save_file(tensors, file)


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
        (lambda run: (run / "metrics.jsonl").write_text("{}\n"), "it lacks 'round'"),
        (lambda run: (run / "metrics.jsonl").unlink(), "cannot read .*metrics.jsonl"),
        (lambda run: without(run / "checkpoint/b/server.safetensors", "shared"), "is missing"),
        (lambda run: without(run / "checkpoint/b/server.safetensors", "table"), "is damaged"),
        (lambda run: without(run / "checkpoint/b/host-1.safetensors", "local"), "host-1.* missing"),
        (lambda run: without(run / "checkpoint/b/host-1.safetensors", "round"), "host-1.* missing"),
    ],
)
def test_what_is_damaged_or_cannot_go_on_is_refused(stopped, damage, message, caplog):
    damage(stopped)
    grids = []

    class Kept(SpyGrid):
        def __init__(self, *args):
            super().__init__(*args)
            grids.append(self)

    with pytest.raises(UserError, match=message):
        federate(stopped, 2, Kept, resume=True, **SHORT)
    assert "Traceback" not in caplog.text
    assert not any(message.metadata.message_type == "train" for message in grids[0].sent)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda state: state | {"optimizer.mean": state["optimizer.mean"][:, :-1]}, r"\(3, 29\)"),
        (lambda state: {n: v for n, v in state.items() if n != "optimizer.count"}, "is missing"),
        (
            lambda state: state | {"optimizer.square": state["local.experts.bias"]},
            "optimizer.square",
        ),
    ],
)
def test_a_damaged_state_of_the_optimiser_is_refused(tmp_path, damage, message, caplog):
    settings = {**SHORT, "keep_optimizer_state": True, "optimizer": "adam"}
    stop(tmp_path / "run", 3, **settings)
    file = tmp_path / "run/checkpoint/b/host-0.safetensors"
    save_file(damage(load_file(file)), file)
    with pytest.raises(UserError, match=f"host-0.*{message}"):
        federate(tmp_path / "run", 2, resume=True, **settings)
    assert "Traceback" not in caplog.text


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
