"""The ablation from the command line to its results."""

import math
from contextlib import redirect_stdout
from dataclasses import replace
from io import StringIO
from pathlib import Path

import centralized_ablation
import pandas as pd
import pytest
from centralized_ablation import STUDY, Settings

from qmoe_fed.experiments.command import main

ROOT = Path(__file__).parents[2]
QUICK = replace(STUDY, sizes={"quick": {**STUDY.sizes["quick"], "max-epochs": 3}})
SUMS = "agrees", "higher", "lower", "no difference", "not measured"


@pytest.fixture(scope="module")
def quick(tmp_path_factory):
    """Return the folder and the output of the quick look, with fewer epochs."""
    folder, printed = tmp_path_factory.mktemp("ablation") / "out", StringIO()
    with redirect_stdout(printed):
        assert main(QUICK, ["--quick", "--processes", "1", "--output-dir", str(folder)]) == 0
    return folder, printed.getvalue()


@pytest.fixture(scope="module")
def rows(quick):
    return pd.read_json(quick[0] / "records.jsonl", lines=True, precise_float=True)


def test_there_is_a_row_per_model_rate_and_seed(rows):
    models = rows[rows["part"] == "models"]
    two = {"A: linear", "B: quantum", "C: deep", "C, 16 wide", "B without CZ", "trigonometric"}
    two |= {"B, re-uploading", "B, notebooks", "linear classifier"}
    four = two - {"C, 16 wide", "B, notebooks", "linear classifier"}
    names = ["experts", "model", "rate", "seed"]
    keys = list(models[names].itertuples(index=False, name=None))
    assert len(keys) == len(set(keys))
    assert set(keys) == {
        (experts, name, rate, seed)
        for experts, names in ((2, two), (4, four))
        for name in names
        for rate in (0.01, 0.1, 0.3)
        for seed in range(3)
    }
    for _, own in models.groupby(["experts", "model"]):
        chosen = own[own["chosen"].eq(True)]
        assert chosen["rate"].nunique() == 1
        means = own.groupby("rate")["validation_loss"].mean()
        assert means.idxmin() == chosen["rate"].iloc[0]
        tested = set(own[own["accuracy"].notna()]["rate"])
        assert tested == {0.01, 0.1, chosen["rate"].iloc[0]}


def test_tables_follow_from_the_rows(quick, rows):
    text = (quick[0] / "tables.md").read_text()
    b = rows[(rows["part"] == "models") & (rows["model"] == "B: quantum") & (rows["experts"] == 2)]
    chosen = b[b["chosen"].eq(True)]
    accuracy = 100 * chosen["accuracy"].mean()
    eta = accuracy / 100 / math.log(1 + 6)
    _, _, details = text.partition("### Two Moons, 2 linear experts, rate chosen")
    (line,) = (x for x in details.splitlines()[:15] if x.startswith("| B: quantum"))
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert cells[2].startswith(f"{accuracy:.1f} ± ")
    assert cells[4] == f"{eta:.3f}"
    assert cells[5] == "–"
    (line,) = (x for x in details.splitlines()[:15] if x.startswith("| linear classifier"))
    assert [cell.strip() for cell in line.strip("|").split("|")][4] == "–"


def test_tables_and_pictures_are_there(quick):
    folder, printed = quick
    text = (folder / "tables.md").read_text()
    for title in ("Published beside ours", "Parameter efficiency: Two Moons", "Ways to train"):
        assert title in printed
        assert f"### {title}" in text
    _, _, beside = text.partition("### Published beside ours")
    lines = [x for x in beside.partition("###")[0].splitlines() if x.startswith("| ")][2:]
    assert len(lines) >= 40
    for line in lines:
        found = line.rpartition(" | ")[2].rstrip(" |").rsplit(" | ")[-1]
        assert {part.strip() for part in found.split(" / ")} <= set(SUMS)
    pictures = sorted(path.name for path in (folder / "figures").iterdir())
    assert pictures == [
        "decision-regions-2.png",
        "decision-regions-4.png",
        "expert-regions-2.png",
        "expert-regions-4.png",
        "gradient-variance.png",
        "parameter-efficiency.png",
        "training-curves-2.png",
        "training-curves-4.png",
    ]


def test_without_image_files_the_rest_is_done_and_one_is_told_how_to_get_them(quick, rows):
    assert "left out: MNIST and Fashion-MNIST, for there is no --data-dir" in quick[1]
    assert "qmoe-fed run simulations/mnist_fed" in quick[1]
    assert "A quick look: so few seeds and epochs decide nothing." in quick[1]
    assert set(rows["dataset"].dropna()) == {"moons"}


def test_with_image_files_there_are_cells_for_each_task_of_the_sweeps(monkeypatch, tmp_path):
    monkeypatch.setattr(centralized_ablation, "load", lambda source: None)
    settings = Settings.from_flat({"data-dir": str(tmp_path)})
    images, left_out = centralized_ablation.available(settings)
    assert (images, left_out) == (["mnist-0-1", "fashion-0-1", "mnist-10"], [])
    asked = [cell.factors for cell in centralized_ablation.cells(settings, images)]
    swept = {factors["dataset"] for factors in asked if factors["part"] == "sweep"}
    assert swept == {"moons", *images}


def test_the_same_command_again_runs_nothing_and_shows_the_same(quick, monkeypatch, capsys):
    monkeypatch.setattr(centralized_ablation, "draw", lambda *given: {})
    files = [quick[0] / name for name in ("records.jsonl", "cells.jsonl", "tables.md")]
    before = [file.read_bytes() for file in files]
    assert main(QUICK, ["--quick", "--processes", "1", "--output-dir", str(quick[0])]) == 0
    assert "0/0" in capsys.readouterr().err
    assert [file.read_bytes() for file in files] == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--seeds", "1"], "seeds = 1: must be at least 2"),
        (["--seeds", "many"], "invalid int value: 'many'"),
        (["--first-seed", "-1"], "first-seed = -1: must be at least 0"),
        (["--config", "gone.toml"], "cannot read config file gone.toml"),
        (["--config", "bad.toml"], "unknown setting 'patients'. Did you mean 'patience'?"),
        (["--data-dir", "gone"], "data-dir = 'gone': there is no such directory"),
        (["--output-dir", "bad.toml/x"], "cannot make output-dir bad.toml/x"),
        (["--output-dir", "full"], "output-dir full holds something else"),
        (["--fast"], "unrecognized arguments: --fast"),
    ],
)
def test_mistakes_are_told_in_one_line(arguments, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("bad.toml").write_text("patients = 3" if "--config" in arguments else "")
    Path("full").mkdir()
    Path("full/results.json").write_text("{}")
    assert main(STUDY, arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert message in err
    assert err.count("\n") == 1
    assert sorted(path.name for path in Path().iterdir()) == ["bad.toml", "full"]


def test_the_published_config_is_the_default():
    settings = Settings.from_toml(ROOT / "configs" / "ablation.toml")
    assert settings == Settings()
    assert settings.scope.seeds == 30
    assert settings.protocol.max_epochs == 100
    assert settings.protocol.batch_size == 32
