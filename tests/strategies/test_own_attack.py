"""The mechanism and the attack in docs/privacy.md do what is said there."""

import re
import sys
from pathlib import Path

import pytest

from qmoe_fed.config import Config
from qmoe_fed.experiments.command import main
from qmoe_fed.federated import Federation

PAGE = Path(__file__).parents[2] / "docs" / "privacy.md"


@pytest.fixture
def written(tmp_path, monkeypatch):
    section = PAGE.read_text().split("## Your own mechanism, your own attack")[1]
    codes = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    assert len(codes) == 2
    for name, code in zip(("my_signs", "my_attack"), codes, strict=True):
        assert len(code.splitlines()) < 40
        (tmp_path / f"{name}.py").write_text(code)
    (run,) = re.findall(r"```toml\n(.*?)```", section, re.DOTALL)
    (tmp_path / "my_run.toml").write_text(run)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    yield
    for name in ("my_signs", "my_attack"):
        sys.modules.pop(name, None)


def test_the_attack_stays_below_the_claim_and_finds_the_mistake(written, monkeypatch):
    import my_signs
    from my_attack import attack

    def found(epsilon, seed=0):
        config = Config.from_toml("my_run.toml").to_flat()
        options = {"mechanism-options": f"epsilon = {epsilon}", "seed": seed}
        return attack(Config.from_flat({**config, **options}))["ε at least"]

    assert found(2.0) == pytest.approx(1.4, abs=0.3)
    assert found(1e-9) < 0.2
    monkeypatch.setattr(my_signs.FlippedSigns, "share", lambda self, size: self.epsilon)
    assert found(2.0) == pytest.approx(6.6, abs=0.5)


def test_the_study_runs_it(written):
    sys.path.append(str(PAGE.parents[1] / "simulations"))  # the studies are scripts
    from privacy_study import STUDY

    asked = ["--audit", "my_attack:attack", "--run", "my_run.toml", "--seeds", "2"]
    assert main(STUDY, [*asked, "--processes", "1", "--output-dir", "out"]) == 0
    (line,) = [x for x in Path("out/tables.md").read_text().splitlines() if "my_signs" in x]
    assert 1.0 < float(line.split("|")[2].split("±")[0]) < 2.0


def test_the_mechanism_runs(written):
    settings = {"mechanisms": "my_signs:FlippedSigns", "mechanism-options": "epsilon = 3.0"}
    settings |= {"num-clients": 4, "num-unseen-clients": 0, "train-samples": 8, "local-epochs": 1}
    federation = Federation(Config.from_flat(settings))
    state = federation.init()
    for _ in range(2):
        state, report = federation.round(state)
    assert report.metrics["epsilon"] == 6.0
