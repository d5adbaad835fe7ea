"""The ServerApp: join, rounds of training, unseen clients, results."""

import shutil
import time
from collections.abc import Callable
from pathlib import Path

import torch
from flwr.app import Array, ArrayRecord, Context
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import Strategy
from torch import Tensor

from qmoe_fed.config import Config
from qmoe_fed.data import Projection, fit_projection, load_clients, shape_of
from qmoe_fed.errors import UserError
from qmoe_fed.federated.checkpoints import go_on
from qmoe_fed.federated.finish import finish
from qmoe_fed.federated.host import Model
from qmoe_fed.federated.hosts import Hosts
from qmoe_fed.federated.join import join_hosts
from qmoe_fed.federated.rounds import run_rounds
from qmoe_fed.federated.state import Federation, RunState
from qmoe_fed.results.checkpoint import alone, check_resumable
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
            run_rounds(federation, strategy, state)
            finish(federation, state)
        except BaseException as error:
            status = {"status": "failed", "reason": f"{type(error).__name__}: {error}"}
            directory.write_json("summary.json", {**status, "rounds": state.rounds})
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


def _refuse_what_cannot_work(
    model: Model, projection: Projection, make_strategy: MakeStrategy
) -> None:
    """Try everything that could fail for a reason in the settings, before any client starts."""
    config = model.config
    data = load_clients(config, [0], projection)
    _check_outputs(model, data.train.x[0].to(config.training.device))
    _check_unseen_samples(config, projection)
    make_strategy(config, Hosts((0,)), model.angles)


def _check_outputs(model: Model, x: Tensor) -> None:
    """Refuse a user's router or expert whose outputs for x ``(B, d)`` are not what they must be."""
    settings, classes = model.config.model, shape_of(model.config).classes
    with torch.no_grad():
        weights, outputs = model.module.router(x), model.module.experts(x)
    if weights.shape != (len(x), settings.num_experts):
        raise UserError(
            f"router {settings.router!r} returns shape {tuple(weights.shape)} for x of shape "
            f"{tuple(x.shape)}: expected one weight per expert, {(len(x), settings.num_experts)}"
        )
    if not ((weights >= -1e-3).all() and ((weights.sum(-1) - 1).abs() < 1e-3).all()):
        raise UserError(
            f"router {settings.router!r} returns {weights[0].tolist()} for the first sample: "
            "expected weights that are not negative and sum to 1; end it with softmax(-1)"
        )
    if outputs.shape != (len(x), settings.num_experts, classes):
        raise UserError(
            f"expert {settings.expert!r} returns shape {(len(x), *outputs.shape[2:])} for x of "
            f"shape {tuple(x.shape)}: expected one score per class, {(len(x), classes)}"
        )


def _check_unseen_samples(config: Config, projection: Projection) -> None:
    """Refuse to call few samples many: what unseen clients have must suffice."""
    first = config.federation.num_clients
    unseen = range(first, first + config.federation.num_unseen_clients)
    largest = max(config.unseen.sample_sizes)
    counts = load_clients(config, unseen, projection).train.counts
    if unseen and (fewest := int(counts.min())) < largest:
        raise UserError(
            f"unseen-samples asks for {largest} labelled samples, but an unseen client has only "
            f"{fewest} to train on; ask for fewer, or share the data among fewer clients"
        )


def output_directory(config: Config) -> Path:
    """Return where the results go: ``output-dir``, or a new directory under the home."""
    if config.results.output_dir:
        return Path(config.results.output_dir).expanduser().absolute()
    return Path(DEFAULT_OUTPUT).expanduser() / time.strftime("%Y%m%d-%H%M%S")


def _initial_arrays(model: Model) -> ArrayRecord:
    initial = model.initial(model.shared, [0])
    return ArrayRecord({name: Array(values[0].cpu().numpy()) for name, values in initial.items()})
