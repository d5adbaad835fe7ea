"""What the README shows works as it stands."""

import re
import shlex
import sys
from itertools import pairwise
from pathlib import Path

import pytest
import torch

from qmoe_fed.circuits import engine
from qmoe_fed.cli import main
from qmoe_fed.launch.app import FlowerApp, parse_run_config, settle
from qmoe_fed.models import build_model
from qmoe_fed.results import load_run

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
ENGINES = "statevector", "pennylane:default.qubit"
SMALL = "engine='local' num-clients=4 num-unseen-clients=2 num-server-rounds=1 figures=false"


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def commands(program):
    lines = [line for block in blocks("sh") for line in block.splitlines()]
    return [shlex.split(line, comments=True)[1:] for line in lines if line.startswith(program)]


@pytest.fixture
def in_checkout(monkeypatch, tmp_path):
    for name in ("my_router", "my_circuit"):
        (code,) = [block for block in blocks("python") if f"{name}.py" in block]
        (tmp_path / f"{name}.py").write_text(code)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(ROOT)
    yield
    for name in ("my_router", "my_circuit"):
        sys.modules.pop(name, None)


@pytest.mark.usefixtures("in_checkout")
@pytest.mark.parametrize("arguments", commands("qmoe-fed run"), ids=" ".join)
def test_every_run_command_has_settings_that_can_work(arguments, tmp_path):
    app = FlowerApp.read(Path(arguments[1]))
    given = [value for flag, value in pairwise(arguments) if flag == "--run-config"]
    config = settle(app, parse_run_config(given), str(tmp_path / "out")).config
    build_model(config.model, features=2, classes=2)


def test_every_file_named_in_the_readme_exists():
    links = re.findall(r"\]\((?!http)([^)]+)\)", README) + re.findall(r'src="([^"]+)"', README)
    links += re.findall(r"\b(?:configs|simulations|docs)/[\w/.-]*\w", README)
    missing = [link for link in links if not (ROOT / link).exists()]
    assert not missing


@pytest.mark.usefixtures("in_checkout")
def test_own_router_and_loading_a_run(tmp_path, capsys):
    (command,) = [c for c in commands("qmoe-fed run") if "my_router" in " ".join(c)]
    out = str(tmp_path / "run")
    assert main([*command[:-1], command[-1], "--run-config", SMALL, "--output-dir", out]) == 0
    assert f"results: {out}" in capsys.readouterr().out
    (code,) = [block for block in blocks("python") if "load_run" in block]
    names: dict = {}
    exec(re.sub(r'load_run\("[^"]*"\)', f'load_run("{out}")', code), names)
    run = names["run"]
    assert run.predict(client=3, x=[[0.5, 0.25]]).shape == (1, 2)
    weights = torch.as_tensor(run.routing([[0.5, 0.25]]))
    assert weights.shape == (1, 4)
    assert weights.sum().item() == pytest.approx(1, abs=1e-6)
    assert load_run(out).config.model.router == "my_router:DistanceRouter"


@pytest.mark.usefixtures("in_checkout")
def test_own_circuit_is_trained_and_runs_on_every_engine(tmp_path, capsys):
    (command,) = [c for c in commands("qmoe-fed run") if "my_circuit" in " ".join(c)]
    out = str(tmp_path / "run")
    assert main([*command, "--run-config", SMALL, "--output-dir", out]) == 0
    capsys.readouterr()
    run = load_run(out)
    assert run.summary["router_parameters"] == 6  # three layers of two qubits
    circuit, theta = run.model.router.circuit, run.shared["router.theta"]
    assert theta.abs().max() > 0
    x = torch.rand(5, 2) * torch.pi
    ours, theirs = (engine(name)(circuit, x, theta) for name in ENGINES)
    torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=0)


def test_a_federation_is_called_from_python(capsys):
    (code,) = [block for block in blocks("python") if "Federation(" in block]
    exec(code, {})
    assert 0.5 < float(capsys.readouterr().out) <= 1
