"""The ServerApp: join, rounds of training, unseen clients, results."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, RecordDict
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import Strategy

from qmoe_fed.config import Config
from qmoe_fed.data import Projection, fit_projection, load_clients, shape_of
from qmoe_fed.errors import UserError
from qmoe_fed.federated.collect import ClientTable
from qmoe_fed.federated.host import Model
from qmoe_fed.federated.hosts import Hosts
from qmoe_fed.federated.join import join_hosts
from qmoe_fed.federated.records import CONFIG
from qmoe_fed.federated.rounds import Federation, RunState, run_rounds
from qmoe_fed.learning.routing import imbalance, mutual_information
from qmoe_fed.results.progress import say
from qmoe_fed.results.run_directory import RunDirectory
from qmoe_fed.results.summary import headline_size, print_summary, spread

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
        unseen = _score_unseen(federation, state.arrays)
        routing = _describe_routing(federation, state)
        _save_experts(federation)
    except BaseException as error:
        status = {"status": "failed", "reason": f"{type(error).__name__}: {error}"}
        directory.write_json("summary.json", {**status, "rounds": state.rounds})
        raise
    summary = _summary(federation, state, unseen, routing)
    _conclude(federation, state, summary, started)
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


def _score_unseen(federation: Federation, arrays: ArrayRecord) -> dict[str, Any]:
    """Return the accuracy of unseen clients: kind → number of labelled samples → spread."""
    config = federation.config
    first = config.federation.num_clients
    clients = range(first, first + config.federation.num_unseen_clients)
    if not clients:
        return {}
    table = federation.ask(clients, arrays, "evaluate.unseen")
    _write_table(federation, "unseen.json", table)
    return {
        kind: {str(m): spread(table.columns[f"{kind}-{m}"]) for m in config.unseen.sample_sizes}
        for kind in ("shared", "scratch", "random")
    }


def _write_table(federation: Federation, name: str, table: ClientTable) -> None:
    columns = {"client": table.clients, **table.columns}
    federation.directory.write_columns(name, {key: v.tolist() for key, v in columns.items()})


def _save_experts(federation: Federation) -> None:
    """Have every host write the local parameters it holds; they are not sent."""
    folder = str(federation.directory.path / "experts")
    messages = [
        Message(RecordDict({CONFIG: ConfigRecord({"folder": folder})}), node, "query.save")
        for node in federation.hosts.nodes
    ]
    timeout = federation.config.federation.round_timeout
    for reply in federation.grid.send_and_receive(messages, timeout=timeout):
        if reply.has_error():
            raise UserError(f"a host could not save its experts: {reply.error.reason}")


def _describe_routing(federation: Federation, state: RunState) -> dict[str, float | None]:
    """Return how the router spreads the work, over all clients.

    What an expert tells about the class takes the clients' label distributions to compute: a run
    with privacy mechanisms does not ask for them.
    """
    config, columns = federation.config, state.table.columns
    experts, classes = config.model.num_experts, shape_of(config).classes
    load = torch.stack([columns[f"load-{i}"] for i in range(experts)], 1)
    class_information = None
    if not config.privacy.mechanisms:
        clients = range(config.federation.num_clients)
        cells = federation.ask(clients, state.arrays, "evaluate.routing").columns
        joint = torch.stack([cells[f"cell-{i}"].mean() for i in range(experts * classes)])
        class_information = mutual_information(joint.view(experts, classes))
    described = vars(imbalance(load, columns["routing-entropy"]))
    return {**described, "class_information": class_information}


def _summary(
    federation: Federation,
    state: RunState,
    unseen: dict[str, Any],
    routing: dict[str, float | None],
) -> dict[str, Any]:
    config = federation.config
    router = federation.model.module.router
    accuracy = spread(state.table.columns["accuracy"])
    headline = str(headline_size(config.unseen.sample_sizes))
    return {
        "status": state.status,
        "reason": state.reason,
        "rounds": state.rounds,
        "rounds_counted": state.counted,
        "clients": config.federation.num_clients,
        "unseen_clients": config.federation.num_unseen_clients,
        "supernodes": len(federation.hosts.nodes),
        "share": config.federation.share,
        "seed": config.federation.seed,
        "router_parameters": sum(p.numel() for p in router.parameters()),
        "bytes_up_per_client_round": state.bytes_up,
        "accuracy_mean": accuracy["mean"],
        "accuracy_std": accuracy["std"],
        "accuracy_worst10": accuracy["worst10"],
        "unseen_samples": int(headline) if unseen else None,
        **{
            f"unseen_accuracy_{kind}": unseen[kind][headline]["mean"] if unseen else None
            for kind in ("shared", "scratch", "random")
        },
        "unseen": unseen,
        **{f"routing_{name}": value for name, value in routing.items()},
        "epsilon": state.metrics.get("epsilon"),
        "delta": config.privacy.delta if "epsilon" in state.metrics else None,
    }


def _conclude(
    federation: Federation, state: RunState, summary: dict[str, Any], started: float
) -> None:
    """Write the summary, draw the pictures, print the table."""
    directory = federation.directory
    _write_table(federation, "clients.json", state.table)
    summary["wall_seconds"] = time.monotonic() - started
    directory.write_json("summary.json", summary)
    if federation.config.results.figures:
        from qmoe_fed.results.figures import draw_all  # matplotlib only where it is used

        draw_all(directory.path)
    print_summary(summary)
    say(f"results: {directory.path}")
