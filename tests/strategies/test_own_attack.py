"""The mechanism and the attack in docs/privacy.md do what is said there."""

import re
import sys
from pathlib import Path

import pytest

from qmoe_fed.config import Config
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
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    yield
    for name in ("my_signs", "my_attack"):
        sys.modules.pop(name, None)


def test_the_attack_stays_below_the_claim_and_finds_the_mistake(written):
    from my_attack import attack
    from my_signs import FlippedSigns

    class Undivided(FlippedSigns):
        def share(self, size):
            return self.epsilon

    assert attack(FlippedSigns(epsilon=2.0)).clopper_pearson == pytest.approx(1.4, abs=0.3)
    assert attack(Undivided(epsilon=2.0)).clopper_pearson == pytest.approx(6.6, abs=0.5)
    assert attack(FlippedSigns(epsilon=1e-9)).clopper_pearson < 0.2


def test_the_mechanism_runs(written):
    settings = {"mechanisms": "my_signs:FlippedSigns", "mechanism-options": "epsilon = 3.0"}
    settings |= {"num-clients": 4, "num-unseen-clients": 0, "train-samples": 8, "local-epochs": 1}
    federation = Federation(Config.from_flat(settings))
    state = federation.init()
    for _ in range(2):
        state, report = federation.round(state)
    assert report.metrics["epsilon"] == 6.0
