"""The same federation on Ray, through the command line: the numbers of the in-process grid."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from secure_runs import SECURE
from small_federation import SMALL, outcome
from test_transport import assert_same_outcome

APP = Path(__file__).parents[2] / "simulations" / "moons_fed"


def run_app(folder: Path, engine: str, supernodes: int, **changes: object) -> dict:
    patient = {"supernode-timeout": 180.0}  # beside other tests Ray takes its time
    settings = {
        **SMALL,
        **patient,
        "engine": engine,
        **{k.replace("_", "-"): v for k, v in changes.items()},
    }
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
def test_a_supernode_per_client_on_ray_equals_the_in_process_grid(tmp_path):
    supernodes = SMALL["num-clients"]
    local = run_app(tmp_path / "local", "local", 1)
    ray = run_app(tmp_path / "ray", "flower", supernodes)
    assert ray["summary"]["supernodes"] == supernodes
    assert_same_outcome(local, ray)


@pytest.mark.slow
def test_a_hidden_sum_with_noise_on_ray_equals_that_of_the_in_process_grid(tmp_path):
    noisy = {**SECURE, "mechanisms": "distributed-dp", "noise_source": "seed"}
    local = run_app(tmp_path / "local", "local", 1, **noisy)
    ray = run_app(tmp_path / "ray", "flower", 2, **noisy)
    assert ray["summary"]["rounds_counted"] == 3
    assert ray["summary"]["epsilon"] == local["summary"]["epsilon"]
    for name, values in local["shared"].items():
        np.testing.assert_allclose(values, ray["shared"][name], rtol=0, atol=1e-6)
