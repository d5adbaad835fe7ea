"""What came to nothing blocks no directory, and nothing that is not ours is touched."""

import json
import os
from pathlib import Path

import pytest

from qmoe_fed.errors import UserError
from qmoe_fed.results.checkpoint import alone
from qmoe_fed.results.place import make_directory, strangers_in

FAILURE = json.dumps({"status": "failed", "error": "UserError", "reason": "no", "rounds": 0})
CONTENT = {"config.json": '{"settings": {}}', "summary.json": FAILURE}


def fill(out: Path, *names: str) -> dict[str, str]:
    """Write files, and return them."""
    files = {name: CONTENT.get(name, "") for name in names}
    for name, text in files.items():
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_text(text)
    return files


def test_a_start_that_failed_blocks_nothing(tmp_path: Path) -> None:
    fill(tmp_path, "summary.json", "flower.log", "superlink.log")
    assert make_directory(str(tmp_path), Path("unused")) == tmp_path
    assert {file.name for file in tmp_path.iterdir()} == {"flower.log", "superlink.log"}


@pytest.mark.parametrize("summary", ["", "[]", '{"status": "completed"}', '{"thesis": 1}'])
def test_a_summary_of_somebody_else_is_left_alone(tmp_path: Path, summary: str) -> None:
    (tmp_path / "summary.json").write_text(summary)
    with pytest.raises(UserError, match=r"is not empty: summary\.json is in it; name a new"):
        make_directory(str(tmp_path), Path("unused"))
    assert (tmp_path / "summary.json").read_text() == summary
    assert strangers_in(tmp_path) == ["summary.json"]


@pytest.mark.parametrize(
    "left",
    [
        ["checkpoint/a/host-0.safetensors", "metrics.jsonl", "flower.log"],
        ["shared.safetensors", "summary.json"],
        ["metrics.jsonl", "summary.json", "report.html"],
        ["projection.safetensors", ".metrics.jsonl"],
    ],
)
def test_a_run_that_came_to_nothing_blocks_nothing(tmp_path: Path, left: list[str]) -> None:
    fill(tmp_path, "config.json", *left)
    with (
        alone(tmp_path),
        pytest.raises(UserError, match=rf"still going on .*process {os.getpid()}\)"),
    ):
        make_directory(str(tmp_path), Path("unused"))
    assert make_directory(str(tmp_path), Path("unused")) == tmp_path
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "left",
    [
        ["thesis.tex"],
        ["summary.json", "clients.json"],
        ["checkpoint/current.json"],
        ["experts/host-0.safetensors"],
    ],
)
def test_a_run_is_never_written_over(tmp_path: Path, left: list[str]) -> None:
    files = fill(tmp_path, "config.json", *left)
    with pytest.raises(UserError, match="already holds a run; name another"):
        make_directory(str(tmp_path), Path("unused"))
    assert all((tmp_path / name).read_text() == text for name, text in files.items())


def test_rounds_of_a_run_that_failed_are_kept(tmp_path: Path) -> None:
    for rounds in ("{}\n", "{}\n{}\n"):  # round 0 alone; a round that somebody may want to read
        fill(tmp_path, "config.json", "summary.json")
        (tmp_path / "metrics.jsonl").write_text(rounds)
        if rounds == "{}\n":
            assert make_directory(str(tmp_path), Path("unused")) == tmp_path
            assert not list(tmp_path.iterdir())
    with pytest.raises(UserError, match="already holds a run"):
        make_directory(str(tmp_path), Path("unused"))


def test_a_config_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"thesis": 1}')
    with pytest.raises(UserError, match="already holds a run"):
        make_directory(str(tmp_path), Path("unused"))
    assert (tmp_path / "config.json").read_text() == '{"thesis": 1}'
