"""The mechanism in the README does what the README says."""

import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from qmoe_fed.config import Config
from strategies import make_mechanisms

README = Path(__file__).parents[2] / "README.md"


@pytest.fixture
def example(tmp_path, monkeypatch):
    section = README.read_text().split("## Write your own privacy mechanism")[1]
    code = re.search(r"```python\n(.*?)```", section, re.DOTALL)[1]
    settings = re.search(r"```toml\n(.*?)```", section, re.DOTALL)[1]
    (tmp_path / "my_privacy.py").write_text(code)
    (tmp_path / "run.toml").write_text(settings)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield code, tmp_path / "run.toml"
    sys.modules.pop("my_privacy", None)


def test_the_readme_mechanism_is_short_and_adds_the_noise_it_claims(example):
    code, settings = example
    assert len(code.splitlines()) < 40
    (mechanism,) = make_mechanisms(Config.from_toml(settings))
    updates = torch.tensor([[3.0, -1.0], [0.1, 0.2]], dtype=torch.float64).repeat(2000, 1)
    sent = mechanism.on_client(updates, range(4000), server_round=1, seed=0)
    clipped = torch.tensor([[0.375, -0.125], [0.1, 0.2]], dtype=torch.float64).repeat(2000, 1)
    noise = (sent - clipped).numpy()
    scale = 2 * 0.5 / 2.0
    assert np.abs(noise).mean() == pytest.approx(scale, rel=0.05)
    assert noise.std() == pytest.approx(scale * np.sqrt(2), rel=0.05)
    assert noise.mean() == pytest.approx(0, abs=0.04)
    for server_round in (1, 2, 3):
        mechanism.before_round(server_round)
    assert mechanism.metrics() == {"local-epsilon": 6.0}
