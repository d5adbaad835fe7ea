"""Settings that no type forbids, and files in any locale, end in one line."""

import os
import subprocess
import sys

import pytest

from qmoe_fed.config import Config
from qmoe_fed.config.settings import parse_options, read_toml
from qmoe_fed.errors import UserError
from qmoe_fed.launch.app import parse_run_config

LONG = "9" * 5000


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"device": "cuda:x"}, "device = 'cuda:x': expected 'cpu', 'cuda'"),
        ({"device": "cpu:abc"}, "device = 'cpu:abc': expected 'cpu', 'cuda'"),
        ({"device": "cuda:-1"}, "device = 'cuda:-1': expected 'cpu', 'cuda'"),
        ({"threads": 10**9}, r"threads = 1000000000: must be in \[1, 1024\]"),
        ({"data-dir": "a\0b"}, "data-dir = .*: must be text without NUL"),
        ({"seed": 10**5000}, r"seed = …: must be less than 2\^63"),
    ],
)
def test_odd_values_are_refused(settings, message):
    with pytest.raises(UserError, match=message):
        Config.from_flat(settings)


def test_numbers_too_long_for_python_are_refused(tmp_path):
    (tmp_path / "long.toml").write_text(f"seed = {LONG}")
    for read in (
        lambda: parse_run_config([f"seed={LONG}"]),
        lambda: read_toml(tmp_path / "long.toml"),
        lambda: parse_options("options", f"n = {LONG}"),
    ):
        with pytest.raises(UserError):
            read()


def test_files_are_read_in_any_locale(tmp_path):
    (tmp_path / "é.toml").write_text('dataset = "ε"', encoding="utf-8")
    code = "from qmoe_fed.config.settings import read_toml; import sys, pathlib;"
    code += "print(ascii(read_toml(next(pathlib.Path(sys.argv[1]).glob('*.toml')))))"
    ascii_only = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    command = [sys.executable, "-c", code, str(tmp_path)]
    done = subprocess.run(command, env={**os.environ, **ascii_only}, capture_output=True, text=True)
    assert done.stdout == "{'dataset': '\\u03b5'}\n", done.stderr
