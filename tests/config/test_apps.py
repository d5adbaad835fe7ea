"""The settings that the apps list: Flower replaces no others."""

import re
import tomllib
from pathlib import Path

import pytest

from qmoe_fed.config import Config, model, sections

APPS = Path(__file__).parents[2] / "simulations"
IMAGES = {
    "num-clients": 20,
    "num-unseen-clients": 10,
    "num-server-rounds": 20,
    "dirichlet-alpha": 0.5,
    "classes": "0,1",
    "qubits": 8,
    "local-epochs": 1,
    "weight-decay": 0.0,
    "unseen-epochs": 100,
}
CHANGES = {
    "moons_fed": {},
    "mnist_fed": {"dataset": "mnist", **IMAGES},
    "fashion_fed": {"dataset": "fashion-mnist", **IMAGES},
}


def test_every_app_is_looked_at():
    assert {path.parent.name for path in APPS.glob("*/pyproject.toml")} == set(CHANGES)


@pytest.mark.parametrize("app", CHANGES)
def test_an_app_lists_every_setting_with_its_default_but_for_a_few(app):
    text = (APPS / app / "pyproject.toml").read_text()
    settings = tomllib.loads(text)["tool"]["flwr"]["app"]["config"]
    assert list(settings) == list(Config().to_flat())
    changes = CHANGES[app]
    assert settings == {**Config().to_flat(), **changes}
    assert {key: type(value) for key, value in settings.items()} == {
        key: type(value) for key, value in Config().to_flat().items()
    }
    Config.from_flat(settings)


@pytest.mark.parametrize("app", CHANGES)
def test_an_app_explains_its_settings_like_the_code(app):
    stated = re.compile(r"^ *([a-z_]+): .* = setting\(.*\)  # (.*)$", re.MULTILINE)
    listed = re.compile(r"^([a-z-]+) = .*  # (.*)$", re.MULTILINE)
    code = "".join(Path(module.__file__).read_text() for module in (sections, model))
    section = (APPS / app / "pyproject.toml").read_text().partition("[tool.flwr.app.config]")[2]
    expected = {name.replace("_", "-"): comment for name, comment in stated.findall(code)}
    assert dict(listed.findall(section)) == expected
