import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from qmoe_fed.config import Config
from qmoe_fed.errors import UserError
from qmoe_fed.results.run_directory import RunDirectory, write_tensors, write_whole


@pytest.fixture
def directory(tmp_path: Path) -> RunDirectory:
    return RunDirectory.create(tmp_path / "deep" / "run", Config())


def test_the_settings_are_written_first(directory: RunDirectory) -> None:
    content = json.loads((directory.path / "config.json").read_text())
    assert Config.from_flat(content["settings"]) == Config()
    assert content["versions"].keys() >= {"flwr", "torch", "qmoe-fed"}


def test_a_place_that_cannot_be_written_to(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot write .*file/run/config\.json: Not a directory"):
        RunDirectory.create(tmp_path / "file" / "run", Config())


def test_what_json_does_not_know_becomes_null(directory: RunDirectory) -> None:
    directory.write_json("a.json", {"a": float("nan"), "b": [1.5, float("-inf")]})
    assert json.loads((directory.path / "a.json").read_text()) == {"a": None, "b": [1.5, None]}


def test_a_table_has_one_line_per_column(directory: RunDirectory) -> None:
    directory.write_columns("t.json", {"client": [0, 1], "loss": [0.5, float("nan")]})
    text = (directory.path / "t.json").read_text()
    assert text == '{\n  "client": [0, 1],\n  "loss": [0.5, null]\n}\n'


def test_rounds_are_appended(directory: RunDirectory) -> None:
    directory.add_round({"round": 0})
    directory.add_round({"round": 1, "loss": float("inf")})
    lines = (directory.path / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == [{"round": 0}, {"round": 1, "loss": None}]


def test_arrays_keep_shape_and_order(tmp_path: Path) -> None:
    arrays = {"scalar": np.array(3.0), "turned": np.arange(6.0).reshape(2, 3).T}
    tensors = {name: torch.from_numpy(values) for name, values in arrays.items()}
    write_tensors(tmp_path / "a.safetensors", tensors)
    read = load_file(tmp_path / "a.safetensors")
    assert read["scalar"].shape == ()
    assert read["turned"].tolist() == [[0, 3], [1, 4], [2, 5]]


def test_a_file_is_replaced_as_a_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "file"
    write_whole(file, b"old")

    def die(source: Path, target: Path) -> None:
        assert target.read_bytes() == b"old"
        assert source.read_bytes() == b"new"
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", die)
        with pytest.raises(KeyboardInterrupt):
            write_whole(file, b"new")
    assert file.read_bytes() == b"old"
    write_whole(file, b"newer")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert file.read_bytes() == b"newer"
