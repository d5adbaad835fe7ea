import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qmoe_fed.cli import main
from qmoe_fed.results import events

accumulator = pytest.importorskip(
    "tensorboard.backend.event_processing.event_accumulator", reason="no tensorboard"
)

APP = Path(__file__).parents[2] / "simulations" / "moons_fed"


def read(run: Path) -> Any:
    return accumulator.EventAccumulator(str(run / "tensorboard")).Reload()


def test_tensorboard_reads_what_the_rounds_say(federate: Callable[..., Path]) -> None:
    run = federate(log="tensorboard", num_unseen_clients=0, num_clients=3)
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    found = read(run)
    for metric in ("accuracy", "loss"):
        scalars = found.Scalars(f"{metric}/mean")
        assert [one.step for one in scalars] == [0, 1, 2, 3]
        expected = [np.float32(record[metric]["mean"]) for record in records]
        assert [one.value for one in scalars] == expected
    assert [one.step for one in found.Scalars("train/train-loss")] == [1, 2, 3]
    assert [one.value for one in found.Scalars("left-out")] == [0] * 4
    assert {tag for tag in found.Tags()["scalars"] if "/" not in tag} == {"left-out", "seconds"}


def test_a_run_that_goes_on_leaves_each_round_once(tmp_path: Path) -> None:
    for rounds in ((0, 1, 2, 3), (2, 3, 4)):
        with events.event_log("tensorboard", tmp_path, rounds[0]) as log:
            for number in rounds:
                log({"round": number, "accuracy": {"mean": rounds[0] + number / 8}})
    scalars = read(tmp_path).Scalars("accuracy/mean")
    assert [(one.step, one.value) for one in scalars] == [
        *((0, 0), (1, 0.125), (2, 2.25), (3, 2.375), (4, 2.5))
    ]


def test_by_default_there_are_no_event_files(run_path: Path) -> None:
    assert not (run_path / "tensorboard").exists()


def test_a_missing_package_is_told_before_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(events, "find_spec", lambda name: None)
    assert main(["run", str(APP), "--run-config", "log='tensorboard'"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: log = 'tensorboard': the package tensorboard is not installed")
    assert error.count("\n") == 1
    assert not list(tmp_path.iterdir())
