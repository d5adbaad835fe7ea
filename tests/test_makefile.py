"""Two at once in a fresh clone make one environment."""

import shutil
import subprocess
from pathlib import Path

import pytest

MAKEFILE = Path(__file__).parents[1] / "Makefile"
PYTHON = """#!/bin/sh
mkdir .venv || exit 1  # as if the other one wrote to it
mkdir .venv/bin
sleep 0.3
printf '#!/bin/sh\necho "$@" >> installs' > .venv/bin/python
printf '#!/bin/sh\necho "$@" >> runs' > .venv/bin/qmoe-fed
chmod +x .venv/bin/python .venv/bin/qmoe-fed
"""


@pytest.mark.skipif(not (shutil.which("make") and shutil.which("flock")), reason="none here")
def test_two_runs_in_a_fresh_clone_share_one_environment(tmp_path):
    shutil.copy(MAKEFILE, tmp_path)
    for name, text in (("python", PYTHON), ("requirements.lock", ""), ("pyproject.toml", "")):
        (tmp_path / name).write_text(text)
    (tmp_path / "python").chmod(0o755)
    command = ["make", "--silent", "run", "PYTHON=./python"]
    both = [subprocess.Popen(command, cwd=tmp_path) for _ in range(2)]
    assert [one.wait(timeout=20) for one in both] == [0, 0]
    assert (tmp_path / "installs").read_text().count("--requirement") == 1
    assert (tmp_path / "runs").read_text() == "run simulations/moons_fed\n" * 2
