"""Apps that are made from the template, and what of it is in a wheel."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import pytest

from qmoe_fed.cli import main
from qmoe_fed.launch.app import FlowerApp

ROOT = Path(__file__).parents[2]
TINY = "engine='local' num-clients=4 num-unseen-clients=0 num-server-rounds=1 figures=false"


def test_a_new_app_runs_and_has_all_settings(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["new", "my_app"]) == 0
    assert capsys.readouterr().out == "qmoe-fed run my_app\n"
    app, template = FlowerApp.read(Path("my_app")), ROOT / "simulations" / "moons_fed"
    assert app.name == "my-app"
    assert app.settings == FlowerApp.read(template).settings
    files = {path.relative_to("my_app").as_posix() for path in Path("my_app").rglob("*.*")}
    modules = {f"my_app/{name}.py" for name in ("__init__", "server_app", "client_app")}
    assert files - modules == {"pyproject.toml"}
    assert "moons_fed" not in Path("my_app/pyproject.toml").read_text()
    assert main(["run", "my_app", "--run-config", TINY, "--output-dir", "out"]) == 0
    assert Path("out/summary.json").exists()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("there", "there is there already"),
        ("My-App", "no app can be called 'My-App'"),
        ("class", "no app can be called 'class'"),
        ("app_", "no app can be called 'app_'"),
        ("a" * 33, "no app can be called"),
        ("torch", "'torch' is the name of an installed module"),
        ("file/app", "cannot make file"),
    ],
)
def test_what_cannot_be_a_new_app_is_refused(tmp_path, monkeypatch, capsys, name, message):
    monkeypatch.chdir(tmp_path)
    Path("there").mkdir()
    Path("file").write_text("")
    assert main(["new", name]) == 2
    assert message in capsys.readouterr().err
    assert {path.name for path in tmp_path.iterdir()} == {"there", "file"}


def test_a_wheel_holds_the_template_and_all_modules(tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    for name in ("qmoe_fed", "strategies"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, source / name, ignore=ignored)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    code = "from setuptools import build_meta; build_meta.build_wheel('.')"
    environment = {**os.environ, "PYTHONWARNINGS": ""}
    command = [sys.executable, "-c", code]
    subprocess.run(command, cwd=source, check=True, capture_output=True, env=environment)
    (wheel,) = source.glob("*.whl")
    held = {name for name in ZipFile(wheel).namelist() if ".dist-info/" not in name}
    files = {path for name in ("qmoe_fed", "strategies") for path in (source / name).rglob("*")}
    assert held == {path.relative_to(source).as_posix() for path in files if path.is_file()}
