import os
import subprocess
import sys
from pathlib import Path

import pytest

from qmoe_fed.config.plugins import load_object
from qmoe_fed.errors import UserError


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A current directory of one's own, forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


def test_an_installed_object_is_found():
    assert load_object("collections.abc:Iterable", "thing").__name__ == "Iterable"


def test_a_file_in_the_current_directory_is_found(here):
    (here / "my_file.py").write_text("from my_helper import VALUE\nclass Mine: value = VALUE\n")
    (here / "my_helper.py").write_text("VALUE = 3\n")
    assert load_object("my_file:Mine", "mechanism").value == 3


def test_a_file_cannot_take_the_place_of_an_installed_module(here):
    (here / "colorsys.py").write_text("def rgb_to_hsv(): return 'mine'\n")
    assert load_object("colorsys:rgb_to_hsv", "thing")(0, 0, 0) == (0.0, 0.0, 0)


@pytest.mark.parametrize(
    "path", ["my_file", "my_file:", ":Mine", "my file:Mine", "my_file.py:", "a:b:c", "a..b:c"]
)
def test_a_malformed_path_is_refused(path):
    with pytest.raises(UserError, match=r"mechanism .*expected an import path 'package\.module:"):
        load_object(path, "mechanism")


def test_a_missing_module_is_named_with_where_it_was_looked_for(here):
    with pytest.raises(UserError, match=rf"strategy 'my_fil:Mine': no module 'my_fil'.*{here}"):
        load_object("my_fil:Mine", "strategy")
    with pytest.raises(UserError, match=r"no module 'json\.nothing' is installed"):
        load_object("json.nothing:Mine", "strategy")


def test_a_missing_name_is_answered_with_the_nearest_one(here):
    (here / "my_rules.py").write_text("def robust_mean(): ...\n_private = 1\n")
    with pytest.raises(UserError) as error:
        load_object("my_rules:robust_maen", "aggregator")
    assert str(error.value) == (
        "unknown aggregator in module my_rules: 'robust_maen'. Did you mean 'robust_mean'? "
        "Allowed: robust_mean."
    )


def test_what_a_users_module_raises_is_passed_on(here):
    (here / "needs_more.py").write_text("import not_there_at_all\n")
    with pytest.raises(ModuleNotFoundError, match="not_there_at_all"):
        load_object("needs_more:Mine", "mechanism")
    (here / "fails.py").write_text("1 / 0\n")
    with pytest.raises(ZeroDivisionError):
        load_object("fails:Mine", "mechanism")


def test_a_file_called_strategies_takes_nobodys_place(tmp_path):
    (tmp_path / "strategies.py").write_text("own = 1\n")
    code = "from qmoe_fed.config.plugins import AGGREGATORS, load_object\n"
    code += "print(load_object(AGGREGATORS['mean'], 'aggregator').__module__)"
    root = str(Path(__file__).parents[2])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), root])}
    command = [sys.executable, "-c", code]  # which also looks in the working directory first
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.stdout == "strategies.aggregators\n", done.stderr
