"""The ServerApp: join, rounds of training, unseen clients, results."""

import shutil
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from threading import Thread

from flwr.app import Array, ArrayRecord, Context
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import Strategy

from qmoe_fed.config import Config
from qmoe_fed.data import fit_projection
from qmoe_fed.errors import UserError
from qmoe_fed.federated.checkpoints import go_on
from qmoe_fed.federated.checks import refuse_what_cannot_work
from qmoe_fed.federated.finish import finish
from qmoe_fed.federated.host import Model
from qmoe_fed.federated.hosts import Hosts
from qmoe_fed.federated.join import join_hosts
from qmoe_fed.federated.records import to_record
from qmoe_fed.federated.rounds import run_rounds
from qmoe_fed.federated.state import Federation, RunState
from qmoe_fed.results.checkpoint import alone, check_resumable
from qmoe_fed.results.run_directory import RunDirectory

MakeStrategy = Callable[[Config, Hosts, frozenset[str]], Strategy]

DEFAULT_OUTPUT = "~/.qmoe_fed/runs"

FIGURES = "qmoe_fed.results.figures"


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

    Each round is written down as it ends, and all there is to go on with at each checkpoint;
    whatever ends the run, ``summary.json`` says so.

    Raises:
        UserError: The settings cannot work, or not all SuperNodes are there.
        RuntimeError: Not one round of training counted.
    """
    started = time.monotonic()
    model = Model(config)
    projection = fit_projection(config)
    refuse_what_cannot_work(model, projection)
    make_strategy(config, Hosts((0,)), model.angles)  # it refuses settings of its own
    directory = _open_directory(config, grid.run.fab_id)
    state = RunState(_initial_arrays(model), started=started)
    with alone(directory.path):
        try:
            setup = {name: Array(values) for name, values in projection.to_dict().items()}
            hosts = join_hosts(grid, ArrayRecord(setup), config.federation.supernode_timeout)
            federation = Federation(grid, config, model, hosts, directory)
            strategy = make_strategy(config, hosts, model.angles)
            if config.results.resume:
                go_on(federation, strategy, state)
            directory.write_arrays("projection.safetensors", projection.to_dict())
            if config.results.figures:
                # It takes seconds to import; meanwhile the hosts train and this process waits.
                Thread(target=import_module, args=[FIGURES], daemon=True).start()
            run_rounds(federation, strategy, state)
            finish(federation, state)
        except BaseException as error:
            status = {"status": "failed", "reason": f"{type(error).__name__}: {error}"}
            directory.write_json("summary.json", {**status, "rounds": state.rounds})
            state.write_shared(directory)
            raise
        shutil.rmtree(directory.path / "checkpoint", ignore_errors=True)
    return directory.path


def _open_directory(config: Config, app: str) -> RunDirectory:
    """Make the directory of a run, or open that of the one to go on with."""
    path = output_directory(config)
    if not config.results.resume:
        return RunDirectory.create(path, config, app)
    recorded = Config.from_flat(check_resumable(path)["settings"]).to_flat()
    free = ("resume", "output-dir")
    if changed := [k for k, v in config.to_flat().items() if v != recorded[k] and k not in free]:
        raise UserError(
            f"the run in {path} goes on with the settings in its config.json; {changed[0]} is "
            f"{recorded[changed[0]]!r} there and cannot be changed"
        )
    return RunDirectory(path)


def output_directory(config: Config) -> Path:
    """Return where the results go: ``output-dir``, or a new directory under the home."""
    if config.results.output_dir:
        return Path(config.results.output_dir).expanduser().absolute()
    return Path(DEFAULT_OUTPUT).expanduser() / time.strftime("%Y%m%d-%H%M%S")


def _initial_arrays(model: Model) -> ArrayRecord:
    initial = model.initial(model.shared, [0])
    return to_record({name: values[0] for name, values in initial.items()})
