"""What is public is listed, is there, and has a page."""

import runpy
import subprocess
import sys
from pathlib import Path

import pytest

import qmoe_fed

ROOT = Path(__file__).parents[1]


def test_all_that_is_listed_is_there_and_described():
    assert sorted(qmoe_fed.__all__) == qmoe_fed.__all__
    assert {*qmoe_fed.__all__} <= {*dir(qmoe_fed)}
    for name in qmoe_fed.__all__:
        assert getattr(qmoe_fed, name).__doc__
        assert getattr(qmoe_fed, name).__name__ == name


def test_nothing_else_is_there():
    with pytest.raises(AttributeError, match="no attribute 'runs'"):
        _ = qmoe_fed.runs


def test_importing_the_package_imports_nothing_large():
    code = "import sys, qmoe_fed, qmoe_fed.cli; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    large = {"numpy", "torch", "pandas", "sklearn", "flwr", "matplotlib", "tqdm"}
    assert not large & {*loaded.stdout.split()}


def test_pages_are_made_without_warnings(tmp_path):
    make = runpy.run_path(str(ROOT / "docs" / "api.py"))
    make["build"](tmp_path)
    page = (tmp_path / "qmoe_fed.html").read_text()
    assert all(f'id="{name}"' in page for name in qmoe_fed.__all__)
    assert 'id="Mechanism.on_client"' in (tmp_path / "strategies.html").read_text()
    assert len(list(tmp_path.rglob("*.html"))) == len(make["PUBLIC"]) + 1  # and where to begin
