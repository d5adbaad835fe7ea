"""Runs a Flower app in this process, without Ray or a SuperLink."""

import sys
import tomllib
from pathlib import Path
from typing import Any

from flwr.app import Context, RecordDict

from qmoe_fed.config.plugins import load_object
from qmoe_fed.federated.flower.grid import RUN_ID, LocalGrid, task_identity


def run_app(app_dir: Path, run_config: dict[str, Any], supernodes: int = 1) -> None:
    """Run a Flower app to its end.

    Args:
        app_dir: Directory of the app, with a ``pyproject.toml`` that names its components.
        run_config: Flat settings.
        supernodes: Number of SuperNodes to play.

    Raises:
        UserError: The settings cannot work.
        Exception: Whatever the ServerApp raises.
    """
    project = tomllib.loads((app_dir / "pyproject.toml").read_text())
    about = project["tool"]["flwr"]["app"]
    components = about["components"]
    sys.path.insert(0, str(app_dir))
    try:
        server_app = load_object(components["serverapp"], "serverapp")
        client_app = load_object(components["clientapp"], "clientapp")
    finally:
        sys.path.remove(str(app_dir))
    context = Context(RUN_ID, 0, {}, RecordDict(), run_config)
    with task_identity():
        grid = LocalGrid(client_app, run_config, supernodes)
        grid.run.fab_id = f"{about['publisher']}/{project['project']['name']}"  # as Flower does
        server_app(grid, context)
