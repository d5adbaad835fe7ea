"""The same federation on Ray, through the command line: the numbers of the in-process grid."""

import subprocess
import sys
from pathlib import Path

import pytest
from small_federation import SMALL, outcome
from test_transport import assert_same_outcome

APP = Path(__file__).parents[2] / "simulations" / "moons_fed"


def run_app(folder: Path, engine: str, supernodes: int) -> dict:
    settings = {**SMALL, "engine": engine}
    pairs = " ".join(
        f"{k}={str(v).lower() if v is False else repr(v)}" for k, v in settings.items()
    )
    command = [sys.executable, "-m", "qmoe_fed.cli", "run", str(APP), "--run-config", pairs]
    command += ["--supernodes", str(supernodes), "--output-dir", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "round 3/3" in done.stdout
    assert f"results: {folder}" in done.stdout
    return outcome(folder)


@pytest.mark.slow
@pytest.mark.parametrize("supernodes", [2, SMALL["num-clients"]])
def test_two_supernodes_and_one_per_client_on_ray_equal_the_in_process_grid(tmp_path, supernodes):
    local = run_app(tmp_path / "local", "local", 1)
    ray = run_app(tmp_path / "ray", "flower", supernodes)
    assert ray["summary"]["supernodes"] == supernodes
    assert_same_outcome(local, ray)
