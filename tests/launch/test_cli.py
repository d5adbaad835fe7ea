import json
import os
import shlex
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import pytest
from tiny_app import write_tiny_app

from qmoe_fed.cli import main
from qmoe_fed.errors import RunFailed, UserError


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return write_tiny_app(tmp_path / "tiny")


def error_of(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """Run the command line; return the one line it says about the user's mistake."""
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert err.endswith("\n")
    return err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "tiny", "--run-config", "num-client=3"], "Did you mean 'num-clients'?"),
        (
            ["run", "tiny", "--run-config", "num-clients='many'"],
            "num-clients = 'many': expected int",
        ),
        (["run", "tiny", "--run-config", "learning-rate=-1"], "must be a positive number"),
        (["run", "tiny", "--run-config", "nonsense"], "expected key=value or a .toml file"),
        (["run", "tiny", "--run-config", "gone.toml"], "cannot read config file gone.toml"),
        (["run", "tiny", "--run-config", "broken.toml"], "broken.toml is not valid TOML"),
        (["run", "tiny", "--supernodes", "0"], "'0' is not a whole number above 0"),
        (["run", "tiny", "--output-dir", "tiny/tiny.py/x"], "cannot make output-dir"),
        (["run", "tiny", "--output-dir", "~nosuch/x"], "output-dir = '~nosuch/x'"),
        (["run", "tiny", "--run-config", f"seed={'9' * 5000}"], "not a TOML value"),
        (["run", "tiny", "--supernodes", "51"], "--supernodes 51: num-clients = 50"),
        (["run", "gone"], "no directory gone"),
        (["run", "."], "is no Flower app: it has no pyproject.toml"),
        (["run", "broken"], "broken/pyproject.toml is not valid TOML"),
        (["run", "bare"], "bare is no Flower app: its pyproject.toml lacks project.name"),
        (["run", "tiny", "--resume", "gone"], "gone is not the directory of a run"),
        (["run", "tiny", "--resume", "gone", "--run-config", "seed=1"], "leave out --run-config"),
        (["run", "tiny", "--resume", "gone", "--output-dir", "out"], "leave out --run-config"),
        (["run"], "required: APP"),
        (["fly"], "invalid choice: 'fly'"),
        ([], "required: COMMAND"),
    ],
)
def test_mistakes_are_told_in_one_line(
    app: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("broken").mkdir()
    Path("bare").mkdir()
    for name in ("broken.toml", "broken/pyproject.toml"):
        Path(name).write_text("seed = = 3")
    Path("bare/pyproject.toml").write_text("[tool.flwr.app.config]\nseed = 3\n")
    assert message in error_of(arguments, capsys)
    assert not Path("runs").exists()


def test_ctrl_c_before_a_run_begins(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(path: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("qmoe_fed.launch.app.FlowerApp.read", interrupted)
    assert main(["run", "tiny"]) == 130
    assert capsys.readouterr() == ("", "stopped\n")


def test_from_a_shell(app: Path) -> None:
    command = [sys.executable, "-m", "qmoe_fed.cli", "run", str(app), "--run-config", "sed=3"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: unknown setting 'sed'. Did you mean 'seed'?")
    assert done.stderr.count("\n") == 1


def test_what_a_terminal_cannot_show_is_no_reason_to_fail(app: Path) -> None:
    command = [sys.executable, "-m", "qmoe_fed.cli", "run", "tiny", "--run-config", "seed=ε"]
    ascii_only = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(command, env=ascii_only, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("error: --run-config seed=")


def test_starts_fast() -> None:
    code = "import json, sys, qmoe_fed.cli; print(json.dumps(list(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"torch", "flwr", "ray", "numpy", "psutil", "pennylane"} & set(
        json.loads(done.stdout)
    )


def test_help_and_version(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, text in ((["--version"], "qmoe-fed 0."), (["run", "--help"], "--run-config")):
        with pytest.raises(SystemExit) as stop:
            main(arguments)
        assert stop.value.code == 0
        assert text in capsys.readouterr().out


def test_local_engine_runs_in_this_process(
    app: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    calls: list[Any] = []

    def run_app(*arguments: Any) -> None:
        calls.append(arguments)
        if len(calls) == 1:
            summary = Path(arguments[1]["output-dir"], "summary.json")
            summary.write_text('{"error": "", "reason": ""}')
        if len(calls) == 2:
            raise UserError("too small")
        if len(calls) == 3:
            raise ZeroDivisionError
        if len(calls) == 4:
            raise RunFailed("not one round counted")

    local = types.SimpleNamespace(run_app=run_app)
    monkeypatch.setitem(sys.modules, "qmoe_fed.federated.flower.grid", local)  # type: ignore[arg-type]
    arguments = ["run", "tiny", "--run-config", "engine='local' seed=5", "--output-dir", "out"]
    assert main(arguments) == 0
    path, settings, supernodes = calls[0]
    assert (path, supernodes) == (app, 1)
    assert settings["seed"] == 5
    assert settings["num-clients"] == 50
    assert settings["output-dir"] == str(Path("out").absolute())
    assert capsys.readouterr().out == ""
    assert error_of([*arguments, "--supernodes", "4"], capsys) == "error: too small\n"
    assert calls[1][2] == 4
    assert main(arguments) == 1
    assert capsys.readouterr().err.endswith("\nZeroDivisionError\n")
    assert main(arguments) == 1
    told = f"error: not one round counted (logs: {Path('out').absolute()})\n"
    assert capsys.readouterr().err == told


SMALL = (
    "engine='local' num-clients=4 num-unseen-clients=0 num-server-rounds=3 local-epochs=1 "
    "train-samples=32 checkpoint-every=1 figures=false"
)


def test_a_start_that_failed_leaves_its_directory_to_a_later_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    app = Path(__file__).parents[2] / "simulations" / "moons_fed"
    arguments = ["run", str(app), "--output-dir", "run", "--run-config", SMALL, "--run-config"]
    assert "cannot be built" in error_of([*arguments, "router='torch.nn:Bilinear'"], capsys)
    assert [file.name for file in (tmp_path / "run").iterdir()] == ["summary.json"]
    assert main([*arguments, "num-server-rounds=1"]) == 0
    assert json.loads(Path("run/summary.json").read_text())["status"] == "completed"


@pytest.fixture
def broken_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> list[str]:
    """Break a run off after its second round; return the command it then says goes on with it."""
    from qmoe_fed.results.progress import Progress

    def show(self: Progress, server_round: int, scores: Any) -> None:
        if server_round == 2:
            raise ZeroDivisionError("two")

    app = Path(__file__).parents[2] / "simulations" / "moons_fed"
    monkeypatch.chdir(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(Progress, "show", show)
        assert main(["run", str(app), "--run-config", SMALL, "--output-dir", "my run"]) == 1
    error, last = capsys.readouterr().err.splitlines()[-2:]
    assert error == "ZeroDivisionError: two"
    begin, _, command = last.partition(": qmoe-fed ")
    assert begin == "go on with"
    return shlex.split(command)


def test_what_a_failed_run_says_last_goes_on_with_it(
    broken_off: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "my run").rename(tmp_path / "moved")
    assert main([*broken_off[:-1], "moved"]) == 0
    assert "going on after round 2\nround 2/3" in capsys.readouterr().out
    assert len((tmp_path / "moved" / "metrics.jsonl").read_text().splitlines()) == 4
    assert "is complete: there is nothing" in error_of([*broken_off[:-1], "moved"], capsys)


def test_another_app_does_not_go_on_with_it(
    broken_off: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny = write_tiny_app(tmp_path / "tiny")
    arguments = ["run", str(tiny), *broken_off[2:]]
    assert "is one of the app 'qmoe-fed/moons-fed', not 'tests/tiny-fed'" in error_of(
        arguments, capsys
    )
    text = (tiny / "pyproject.toml").read_text()
    text = text.replace('"tests"', '"qmoe-fed"').replace("tiny-fed", "moons-fed")
    (tiny / "pyproject.toml").write_text(text)
    assert "must list checkpoint-every, " in error_of(arguments, capsys)


def test_a_damaged_checkpoint_is_refused_before_anything_starts(
    broken_off: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (file,) = (tmp_path / "my run" / "checkpoint" / "b").glob("host-0.safetensors")
    os.truncate(file, file.stat().st_size - 1)
    error = error_of(broken_off, capsys)
    assert f"is damaged: cannot read {file}" in error
    assert error.endswith("; restore the file, or run it anew\n")
