"""Cells are run once, written down as they finish, and recognised by what they are."""

import json
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field, replace

import numpy as np
import pytest

from qmoe_fed.config.settings import Tree
from qmoe_fed.errors import UserError
from qmoe_fed.experiments.cells import Cell, Measured
from qmoe_fed.experiments.command import Report, Scope, Study, main
from qmoe_fed.experiments.engine import Runner, Store
from qmoe_fed.experiments.views.tables import Table

RUN = []


@dataclass(frozen=True)
class Settings(Tree):
    scope: Scope = field(default_factory=Scope)


def squares(numbers, power=2, data_dir=""):
    RUN.append(power)
    if power > 5:
        raise UserError("too large")
    rows = [
        {"seed": n, "value": float(n**power), "root": n**0.5 if n else float("nan")}
        for n in numbers
    ]
    return Measured(rows, {"values": np.array([n**power for n in numbers])})


def cell(power=2, **changes):
    return Cell(squares, {"power": power}, {"numbers": (0, 1, 2), "power": power, **changes})


@pytest.fixture
def runner(tmp_path):
    RUN.clear()

    def make(processes=1):
        return Runner(Store(tmp_path / "out", "squares", Settings()), processes)

    return make


def test_rows_are_tidy_and_on_disk(runner, tmp_path):
    frame = runner()([cell(2), cell(3)])
    assert list(frame["power"]) == [2] * 3 + [3] * 3
    assert list(frame["value"]) == [0, 1, 4, 0, 1, 8]
    assert frame["root"].isna().sum() == 2
    assert frame["seconds"].gt(0).all()
    lines = (tmp_path / "out" / "records.jsonl").read_text().splitlines()
    row = {"power": 3, "seed": 2, "value": 8.0, "root": 2**0.5, "cell": cell(3).key}
    assert json.loads(lines[-1]) == row
    assert json.loads(lines[0])["root"] is None


def test_what_is_done_is_not_done_again(runner):
    first = runner()([cell(2)])
    again = runner()
    both = again([cell(3), cell(2)])
    assert RUN == [2, 3]
    assert both[both["power"] == 2].reset_index(drop=True).equals(first)
    assert again.store.arrays(cell(2).key)["values"].tolist() == [0, 1, 4]


def test_a_changed_definition_is_another_cell_and_a_moved_data_dir_is_not(runner):
    runner()([cell(2)])
    assert cell(2, data_dir="elsewhere").key == cell(2).key
    others = [
        cell(2, numbers=(0, 1)),
        replace(cell(2), factors={"power": 2, "more": 1}),
        replace(cell(2), measure=len),
    ]
    assert len({cell(2).key, *(other.key for other in others)}) == 4
    runner()([cell(2, data_dir="elsewhere"), cell(2, numbers=(0, 1))])
    assert RUN == [2, 2]


def test_a_cell_that_was_cut_off_is_run_again(runner, tmp_path):
    runner()([cell(2), cell(3)])
    records, cells = tmp_path / "out" / "records.jsonl", tmp_path / "out" / "cells.jsonl"
    whole = records.read_bytes()
    lines = whole.splitlines(keepends=True)
    # stopped while the rows of the last cell were written, and between its rows and its line
    for left in (b"".join(lines[:4]) + lines[4][:9], whole):
        records.write_bytes(left)
        done = cells.read_bytes().splitlines(keepends=True)
        cells.write_bytes(done[0] + done[1][:20])
        RUN.clear()
        frame = runner()([cell(2), cell(3)])
        assert RUN == [3]
        assert list(frame["value"]) == [0, 1, 4, 0, 1, 8]
        assert records.read_bytes() == whole


def test_what_was_finished_before_a_mistake_is_kept(runner):
    with pytest.raises(UserError, match="too large"):
        runner()([cell(2), cell(6), cell(3)])
    runner()([cell(2)])
    assert RUN == [2, 6]


def test_processes_give_the_same_rows(runner):
    rows = runner(2)([cell(2), cell(3)]).drop(columns="seconds")
    assert RUN == []  # not in this process
    assert list(rows["value"]) == [0, 1, 4, 0, 1, 8]


def test_a_folder_of_something_else_is_refused(tmp_path):
    (tmp_path / "notes.txt").touch()
    with pytest.raises(UserError, match="holds something else; name another directory"):
        Store(tmp_path, "squares", Settings())
    Store(tmp_path / "new", "cubes", Settings())
    with pytest.raises(UserError, match="new holds cubes; name another directory"):
        Store(tmp_path / "new", "squares", Settings())
    with pytest.raises(UserError, match=f"cannot make output-dir {tmp_path}/notes.txt/x: Not a"):
        Store(tmp_path / "notes.txt" / "x", "squares", Settings())


def test_a_damaged_file_is_told(runner, tmp_path):
    runner()([cell(2)])
    (tmp_path / "out" / "records.jsonl").write_text("{}}\n")
    with pytest.raises(UserError, match=r"records.jsonl is damaged: .*; name another output-dir"):
        runner()


def report(settings, run):
    frame = run([Cell(squares, {}, {"numbers": list(settings.scope.streams)})])
    table = Table("Squares", ("sum",), [(f"{frame['value'].sum():g}",)])
    more = replace(table, title="More", printed=False)
    return Report([table, more], notes=["left out: cubes"])


STUDY = Study("squares", "", Settings, report, {"quick": {"quick": True, "seeds": 3}})


def test_a_study_prints_and_writes_its_tables(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(STUDY, ["--quick", "--first-seed", "4", "--processes", "1"]) == 0
    printed = capsys.readouterr().out
    folder = tmp_path / "runs" / "squares-quick"
    written = (folder / "tables.md").read_text()
    for text in (printed, written):
        assert "A quick look" in text
        assert "left out: cubes" in text
        assert "Squares" in text
        assert "77" in text  # 16 + 25 + 36
    assert "# squares, seeds 4 to 6" in written
    assert "More" in written
    assert "More" not in printed
    about = json.loads((folder / "study.json").read_text())
    assert (about["study"], about["settings"]["first-seed"]) == ("squares", 4)


def test_the_command_line_goes_before_quick_and_that_before_the_file(tmp_path):
    seen = []
    study = replace(STUDY, report=lambda settings, run: seen.append(settings) or Report([]))
    file = tmp_path / "study.toml"
    file.write_text("seeds = 7\nfirst-seed = 1")
    common = ["--config", str(file), "--output-dir", str(tmp_path / "out")]
    for arguments in ([], ["--quick"], ["--quick", "--seeds", "5"]):
        assert main(study, [*common, *arguments]) == 0
    assert [settings.scope.seeds for settings in seen] == [7, 3, 5]
    assert {settings.scope.first_seed for settings in seen} == {1}


SLOW = """
import sys, time
sys.path.insert(0, {here!r})
from dataclasses import replace
from test_run_cells import STUDY, Cell, Measured, main

def slow(n):
    time.sleep(0 if n == 0 else 60)
    return Measured([{{"seed": n}}])

def report(settings, run):
    run([Cell(slow, {{"n": n}}, {{"n": n}}) for n in range(3)])

if __name__ == "__main__":
    sys.exit(main(replace(STUDY, report=report), ["--output-dir", {out!r}, *sys.argv[1:]]))
"""


@pytest.mark.parametrize(("number", "processes"), [(signal.SIGINT, "2"), (signal.SIGTERM, "1")])
def test_a_stopped_study_ends_at_once_and_keeps_what_is_done(tmp_path, number, processes):
    script, out = tmp_path / "slow.py", tmp_path / "out"
    script.write_text(SLOW.format(here=str(__file__).rpartition("/")[0], out=str(out)))
    command = [sys.executable, script, "--processes", processes]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    records = out / "records.jsonl"
    while not records.exists() and process.poll() is None:
        time.sleep(0.05)
    began = time.monotonic()
    process.send_signal(number)
    _, err = process.communicate(timeout=30)
    assert time.monotonic() - began < 10
    assert process.returncode == 128 + number
    assert "stopped; the same command goes on from here" in err
    assert [json.loads(line)["n"] for line in records.read_text().splitlines()] == [0]
