"""Small federations, run once, whose directories the tests read."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from qmoe_fed.federated.flower.grid import run_app
from qmoe_fed.results import Run, load_run

APP = Path(__file__).parents[2] / "simulations" / "moons_fed"

SETTINGS = {
    "engine": "local",
    "expert-fit": "gradient",
    "seed": 1,
    "num-clients": 7,
    "num-unseen-clients": 5,
    "num-server-rounds": 3,
    "train-samples": 24,
    "test-samples": 20,
    "unseen-samples": "4,8",
    "unseen-epochs": 5,
    "figures": False,
}


@pytest.fixture(scope="session")
def federate(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Return a function that runs a federation on two SuperNodes and returns its directory."""

    def run(**changes: object) -> Path:
        path = tmp_path_factory.mktemp("run") / "results"
        named = {key.replace("_", "-"): value for key, value in changes.items()}
        run_app(APP, {**SETTINGS, **named, "output-dir": str(path)}, supernodes=2)
        return path

    return run


@pytest.fixture(scope="session")
def run_path(federate: Callable[..., Path]) -> Path:
    return federate()


@pytest.fixture(scope="session")
def finished(run_path: Path) -> Run:
    return load_run(run_path)


@pytest.fixture
def own_copy(run_path: Path, tmp_path: Path) -> Path:
    """A copy of the run's directory that a test may change."""
    return Path(shutil.copytree(run_path, tmp_path / "copy"))
