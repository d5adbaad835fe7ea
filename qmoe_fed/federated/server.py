"""The ServerApp: join, rounds of training, unseen clients, results."""

import time
from collections.abc import Callable
from pathlib import Path

import torch
from flwr.app import Array, ArrayRecord, Context
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import Strategy

from qmoe_fed.config import Config
from qmoe_fed.data import Projection, fit_projection, load_clients
from qmoe_fed.federated.finish import finish
from qmoe_fed.federated.host import Model
from qmoe_fed.federated.hosts import Hosts
from qmoe_fed.federated.join import join_hosts
from qmoe_fed.federated.rounds import Federation, RunState, run_rounds
from qmoe_fed.results.run_directory import RunDirectory

MakeStrategy = Callable[[Config, Hosts, frozenset[str]], Strategy]

DEFAULT_OUTPUT = "~/.qmoe_fed/runs"


def server_app(make_strategy: MakeStrategy) -> ServerApp:
    """Return the ServerApp.

    Args:
        make_strategy: Builds the strategy of a run from its config, the hosts, and the names of
            the parameters that are angles.
    """
    app = ServerApp()

    @app.main()
    def main(grid: Grid, context: Context) -> None:
        run_federation(grid, Config.from_flat(context.run_config), make_strategy)

    return app


def run_federation(grid: Grid, config: Config, make_strategy: MakeStrategy) -> Path:
    """Run a whole federation and return the path of its results.

    Everything is written down after each round; whatever ends the run, ``summary.json`` says so.

    Raises:
        UserError: The settings cannot work, or not all SuperNodes are there.
        RuntimeError: Not one round of training counted.
    """
    started = time.monotonic()
    model = Model(config)
    projection = fit_projection(config)
    _refuse_what_cannot_work(model, projection, make_strategy)
    directory = RunDirectory.create(output_directory(config), config)
    state = RunState(_initial_arrays(model))
    try:
        setup = ArrayRecord({name: Array(values) for name, values in projection.to_dict().items()})
        hosts = join_hosts(grid, setup, config.federation.supernode_timeout)
        federation = Federation(grid, config, model, hosts, directory)
        directory.write_arrays("projection.safetensors", projection.to_dict())
        run_rounds(federation, make_strategy(config, hosts, model.angles), state)
        finish(federation, state, started)
    except BaseException as error:
        status = {"status": "failed", "reason": f"{type(error).__name__}: {error}"}
        directory.write_json("summary.json", {**status, "rounds": state.rounds})
        raise
    return directory.path


def _refuse_what_cannot_work(
    model: Model, projection: Projection, make_strategy: MakeStrategy
) -> None:
    """Try everything that could fail for a reason in the settings, before any client starts."""
    config = model.config
    data = load_clients(config, [0], projection)
    module = model.module
    with torch.no_grad():
        module(data.train.x[0].to(config.training.device))
    make_strategy(config, Hosts((0,)), model.angles)


def output_directory(config: Config) -> Path:
    """Return where the results go: ``output-dir``, or a new directory under the home."""
    if config.results.output_dir:
        return Path(config.results.output_dir).expanduser().absolute()
    return Path(DEFAULT_OUTPUT).expanduser() / time.strftime("%Y%m%d-%H%M%S")


def _initial_arrays(model: Model) -> ArrayRecord:
    initial = model.initial(model.shared, [0])
    return ArrayRecord({name: Array(values[0].cpu().numpy()) for name, values in initial.items()})
