"""The whole comparison on a grid of two cells: run, written down, and gone on with."""

import json
import runpy
import sys
from pathlib import Path

import pytest
from qmoe_fed.studies.sharing import grid, runs
from qmoe_fed.studies.sharing.grid import CANDIDATES, FULL, Cell, Grid, job_of
from qmoe_fed.studies.sharing.study import compare

from qmoe_fed.config import Config
from qmoe_fed.errors import UserError

SCRIPT = Path(__file__).parents[2] / "simulations" / "compare_sharing.py"
CELLS = tuple(
    Cell("moons, label skew", "linear", sharing)
    for sharing in ("router", "nothing", "everything", "random router")
)
TINY = Grid(CELLS, seeds=2, epochs=5)


def test_every_cell_and_seed_is_run_once_and_a_stopped_study_goes_on(tmp_path, capsys):
    compare(TINY, tmp_path, "", processes=1)
    lines = (tmp_path / "records.jsonl").read_text().splitlines()
    trials = len(CELLS) * len(CANDIDATES) * len(grid.VALIDATION_SEEDS)
    assert len(lines) == trials + len(CELLS) * 2
    first = json.loads((tmp_path / "results.json").read_text())
    found = [(r["task"], r["router"], r["sharing"], r["seed"]) for r in first["records"]]
    assert found == [(*vars(cell).values(), seed) for cell in CELLS for seed in range(2)]
    assert "Verdict\naccuracy, against sharing nothing" in capsys.readouterr().out

    best = {}
    for line in lines[:trials]:
        record = json.loads(line)
        settings = record["settings"]
        candidate = settings["learning-rate"], settings["local-epochs"]
        scores = best.setdefault(record["sharing"], {})
        scores[candidate] = scores.get(candidate, 0) + record["accuracy"]
    for chosen in first["chosen"]:
        scores = best[chosen["sharing"]]
        assert scores[chosen["learning_rate"], chosen["local_epochs"]] == max(scores.values())

    # stopped while a line was written: only what is missing is run, with the same numbers
    cut = "\n".join(lines[:-2]) + "\n" + lines[-2][:40]
    (tmp_path / "records.jsonl").write_text(cut)
    compare(TINY, tmp_path, "", processes=1)
    assert len((tmp_path / "records.jsonl").read_text().splitlines()) == len(lines)
    again = json.loads((tmp_path / "results.json").read_text())
    for content in (first, again):
        for record in content["records"]:
            del record["seconds"]
    assert again == first


def test_all_settings_are_valid_and_differ_between_cells():
    jobs = [job_of(cell, 0, CANDIDATES[0], FULL, "/data") for cell in FULL.cells]
    assert len({runs._key(job) for job in jobs}) == len(jobs)
    for job in jobs:
        Config.from_flat(job.settings)


def test_missing_images_are_found_before_anything_runs(tmp_path, monkeypatch, capsys):
    arguments = ["compare_sharing.py", "--data-dir", str(tmp_path), "--output-dir", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", arguments)
    with pytest.raises(SystemExit) as stop:
        runpy.run_path(str(SCRIPT), run_name="__main__")
    assert stop.value.code == 2
    assert f"error: the files of mnist are not in {tmp_path}/mnist" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=f"cannot make output-dir {tmp_path}/file/results: Not a"):
        compare(TINY, tmp_path / "file" / "results", "")


def test_one_seed_has_no_interval(tmp_path):
    with pytest.raises(UserError, match="seeds = 1: an interval needs at least 2"):
        compare(Grid(CELLS, seeds=1), tmp_path, "")
