"""The ablation from the command line to its results."""

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest
from qmoe_fed.studies.ablation import study
from qmoe_fed.studies.ablation.settings import QUICK, Settings
from qmoe_fed.studies.command import main

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "simulations" / "centralized_ablation.py"


@pytest.fixture(scope="module")
def quick(tmp_path_factory):
    """Return the folder and the output of the script as a user calls it."""
    folder = tmp_path_factory.mktemp("ablation") / "out"
    done = subprocess.run(
        [sys.executable, SCRIPT, "--quick", "--output-dir", folder],
        capture_output=True,
        text=True,
        check=True,
        timeout=200,
    )
    return folder, done.stdout


@pytest.fixture(scope="module")
def results(quick):
    return json.loads((quick[0] / "results.json").read_text())


def test_results_hold_a_summary_per_model_and_setting_and_a_record_per_seed(results):
    keys = {"name", "learning_rate", "router_parameters", "accuracy_mean", "accuracy_ci95"}
    settings = {"0.01", "0.1", "validation"}
    models = results["models"]
    assert all(keys | {"f1_mean", "eta", "setting"} <= set(model) for model in models)
    names = {"linear", "quantum", "deep", "mlp-16", "separable", "trig", "reuploading"}
    four = {"linear-4", "quantum-4", "deep-4", "separable-4", "trig-4", "reuploading-4"}
    names |= four | {"notebook", "classifier"}
    assert {(m["name"], m["setting"]) for m in models} == {(n, s) for n in names for s in settings}
    records = results["records"]
    assert len(records) == 3 * len(models)
    assert {(r["name"], r["setting"], r["seed"]) for r in records} == {
        (n, s, k) for n in names for s in settings for k in range(3)
    }


def test_summaries_follow_from_the_records(results):
    for model in results["models"]:
        own = [
            r["accuracy"]
            for r in results["records"]
            if (r["name"], r["setting"]) == (model["name"], model["setting"])
        ]
        low, high = model["accuracy_ci95"]
        assert model["accuracy_mean"] == pytest.approx(sum(own) / 3)
        assert (low + high) / 2 == pytest.approx(model["accuracy_mean"])
        if model["router_parameters"]:
            assert model["eta"] == pytest.approx(
                model["accuracy_mean"] / math.log(1 + model["router_parameters"])
            )
        else:
            assert model["eta"] is None


def test_tables_answer_and_pictures_are_there(quick, results):
    folder, printed = quick
    report = (folder / "report.md").read_text()
    for title in ("Paper beside ours", "Parameter efficiency: Two Moons", "Ways to train"):
        assert title in printed
        assert f"### {title}" in report
    for line in results["paper"]:
        assert line["verdict"].split()[0] in {"reproduced", "not", "depends", "set"}
        assert line["verdict"] in report
    for paragraph in results["answer"]:
        assert paragraph in report
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


def test_without_image_files_the_rest_is_done_and_one_is_told_how_to_get_them(quick, results):
    (reason,) = results["left_out"]
    assert "qmoe-fed run simulations/mnist_fed" in reason
    assert "--data-dir" in reason
    assert f"left out: {reason}" in quick[1]
    assert {m["dataset"] for m in results["efficiency"]["models"]} == {"moons"}


def run_command(arguments):
    return main(study.run, Settings, QUICK, "", arguments, data_dir=True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--seeds", "1"], "seeds = 1: must be at least 2"),
        (["--seeds", "many"], "invalid int value: 'many'"),
        (["--config", "gone.toml"], "cannot read config file gone.toml"),
        (["--config", "bad.toml"], "unknown setting 'patients'. Did you mean 'patience'?"),
        (["--data-dir", "gone"], "data-dir = 'gone': there is no such directory"),
        (["--output-dir", "bad.toml/x"], "cannot make output-dir bad.toml/x"),
        (["--output-dir", "full"], "output-dir full already holds results"),
        (["--fast"], "unrecognized arguments: --fast"),
    ],
)
def test_mistakes_are_told_in_one_line(arguments, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("bad.toml").write_text("patients = 3" if "--config" in arguments else "")
    Path("full").mkdir()
    Path("full/results.json").write_text("{}")
    assert run_command(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert message in err
    assert err.count("\n") == 1
    assert sorted(path.name for path in Path().iterdir()) == ["bad.toml", "full"]


def test_the_published_config_is_the_default():
    settings = Settings.from_toml(ROOT / "configs" / "ablation.toml")
    assert settings == Settings()
    assert settings.scope.seeds >= 10
    assert settings.protocol.max_epochs == 100
    assert settings.protocol.batch_size == 32
