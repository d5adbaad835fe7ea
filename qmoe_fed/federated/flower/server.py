"""The ServerApp: a run on the grid that Flower gives it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from qmoe_fed.config import Config
from qmoe_fed.federated.driver import carry_out, told
from qmoe_fed.federated.federation import prepare
from qmoe_fed.federated.flower.transport import FlowerTransport
from qmoe_fed.federated.model import Model


def server_app() -> ServerApp:
    """Return the ServerApp of any run; its settings say the rest."""
    app = ServerApp()

    @app.main()
    def main(grid: Grid, context: Context) -> None:
        run_federation(grid, context.run_config)

    return app


def run_federation(grid: Grid, settings: Mapping[str, Any]) -> Path:
    """Run a whole federation on a grid and return the path of its results.

    Raises:
        UserError: The settings cannot work, or not all SuperNodes are there.
        RuntimeError: Not one round of training counted.
    """
    with told(settings.get("output-dir")):
        model = Model(Config.from_flat(settings))
        return carry_out(FlowerTransport(grid, model, prepare(model)), grid.run.fab_id)
