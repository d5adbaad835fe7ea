import json
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

import pytest

from qmoe_fed.cli import main
from qmoe_fed.errors import UserError
from qmoe_fed.results import watch as module
from qmoe_fed.results.checkpoint import alone
from qmoe_fed.results.watch import watch


@pytest.fixture(autouse=True)
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SECONDS", 0.02)


@pytest.fixture
def going_on(own_copy: Path) -> Path:
    """A run after its first round, in whose file the second is being written."""
    (own_copy / "summary.json").rename(own_copy / "later.json")
    lines = (own_copy / "metrics.jsonl").read_text().splitlines(keepends=True)
    (own_copy / "metrics.jsonl").write_text("".join([*lines[:2], lines[2][:20]]))
    return own_copy


def test_a_run_that_has_ended(own_copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["watch", str(own_copy)]) == 0
    shown = capsys.readouterr().out
    last = json.loads((own_copy / "metrics.jsonl").read_text().splitlines()[-1])
    assert re.search(rf"3/3 +{last['accuracy']['mean']:.3f} ", shown)
    assert shown.rstrip().endswith("completed")


@contextmanager
def carried_on(run: Path) -> Iterator[None]:
    """Hold a run as its process does, and end it a little later."""

    def carry_on() -> None:
        with alone(run):
            time.sleep(0.3)
            (run / "later.json").rename(run / "summary.json")
            time.sleep(0.1)

    thread = Thread(target=carry_on)
    thread.start()
    yield
    thread.join()


def test_a_run_under_way_is_watched_to_its_end(
    going_on: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with carried_on(going_on):
        time.sleep(0.05)
        assert watch(going_on)
        assert (going_on / "summary.json").is_file()
    shown = capsys.readouterr().out
    assert "1/3" in shown
    assert "2/3" not in shown  # its line is not whole


def test_a_run_that_was_killed(going_on: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["watch", str(going_on)]) == 1
    assert "no process here runs it" in capsys.readouterr().out


def test_a_run_that_failed(own_copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    failed = {"status": "failed", "reason": "[red]no host", "rounds": 1}
    (own_copy / "summary.json").write_text(json.dumps(failed))
    assert main(["watch", str(own_copy)]) == 1
    assert "failed: [red]no host" in capsys.readouterr().out


def test_who_was_left_out_of_the_last_round(own_copy: Path) -> None:
    lines = (own_copy / "metrics.jsonl").read_text().splitlines()
    out = [{"client": i, "reason": "too [b]large"} for i in range(7)]
    last = json.dumps({**json.loads(lines[-1]), "rejections": out})
    (own_copy / "metrics.jsonl").write_text("\n".join([*lines[:-1], last, ""]))
    texts = [str(part) for part in module._view(own_copy, 3, "").renderables]
    assert texts[3:-1] == [*(f"client {i}: too [b]large" for i in range(5)), "and 2 more"]


def test_ctrl_c_ends_the_watching(
    going_on: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(time, "sleep", interrupted)
    assert main(["watch", str(going_on)]) == 130
    assert capsys.readouterr().err == ""


def test_what_is_no_run(tmp_path: Path, going_on: Path) -> None:
    with pytest.raises(UserError, match="is not the directory of a run"):
        watch(tmp_path)
    (going_on / "metrics.jsonl").write_text("{\n")
    with pytest.raises(UserError, match=r"metrics\.jsonl is damaged"):
        watch(going_on)
