"""The ServerApp: carries out a whole run on the grid that Flower gives it.

Each round is written down as it ends, and all there is to go on with at each checkpoint; whatever
ends a run, its ``summary.json`` says so, for the command line to read.
"""

import math
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from threading import Thread
from typing import Any

import torch
from flwr.app import Context
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.exception import PrivacyBudgetExhausted

from qmoe_fed.config import Config
from qmoe_fed.config.settings import expanded
from qmoe_fed.data import settle
from qmoe_fed.errors import RunFailed, UserError
from qmoe_fed.federated.federation import Report, State, prepare
from qmoe_fed.federated.flower.finish import finish, show_failure
from qmoe_fed.federated.flower.run import Run, checkpoint_interval, go_on, save_checkpoint
from qmoe_fed.federated.flower.transport import FlowerTransport
from qmoe_fed.federated.model import Model
from qmoe_fed.results.checkpoint import alone, check_resumable
from qmoe_fed.results.events import check_log, event_log
from qmoe_fed.results.place import make_directory, strangers_in
from qmoe_fed.results.progress import Progress, Show, say
from qmoe_fed.results.run_directory import RunDirectory, write_tensors
from qmoe_fed.results.summary import spread

DRAWING = ("qmoe_fed.results.report", "pandas")
DEFAULT_OUTPUT = Path("~/.qmoe_fed/runs")


def server_app() -> ServerApp:
    """Return the ServerApp of any run; its settings say the rest."""
    app = ServerApp()

    @app.main()
    def main(grid: Grid, context: Context) -> None:
        run_federation(grid, context.run_config)

    return app


def run_federation(grid: Grid, settings: Mapping[str, Any], show: Show | None = None) -> Path:
    """Run a whole federation on a grid and return the path of its results.

    If ``show`` is given, it is called with the scores of rounds, and nothing of these is printed.

    UserError if the settings cannot work or not all SuperNodes are there; RunFailed if not one
    round of training counted.
    """
    with told(settings.get("output-dir")):
        model = Model(settle(Config.from_flat(settings)))
        check_log(model.config.results.log)
        transport = FlowerTransport(grid, model, prepare(model))
        directory = _open_directory(model.config, grid.run.fab_id)
    with alone(directory.path):
        state = State(model.initial_shared())
        run = Run(transport, directory, state, time.monotonic(), show=show)
        try:
            _carry_out(run)
        except BaseException as error:
            _write_failure(directory, error, run.state.round)
            run.write_shared()
            if isinstance(error, Exception):  # a run that is stopped does not wait
                show_failure(run)
            raise
    return directory.path


@contextmanager
def told(output_dir: object) -> Iterator[None]:
    """Write down in ``output-dir`` why the block fails, unless it holds something already."""
    try:
        yield
    except BaseException as error:
        if isinstance(output_dir, str) and output_dir:
            with suppress(UserError, ValueError):  # it may be what is wrong
                path = expanded("output-dir", output_dir).absolute()
                if not strangers_in(path):
                    _write_failure(RunDirectory(path), error, 0)
        raise


def _write_failure(directory: RunDirectory, error: BaseException, rounds: int) -> None:
    name = type(error).__name__
    content = {"status": "failed", "error": name, "reason": str(error) or name, "rounds": rounds}
    directory.write_json("summary.json", content)


def _open_directory(config: Config, app: str) -> RunDirectory:
    """Make the directory of a run, or open that of the one to go on with."""
    name = config.results.output_dir
    if not config.results.resume:
        return RunDirectory.create(make_directory(name, DEFAULT_OUTPUT.expanduser()), config, app)
    path = expanded("output-dir", name).absolute()
    recorded = Config.from_flat(check_resumable(path)["settings"]).to_flat()
    free = ("resume", "output-dir")
    if changed := [k for k, v in config.to_flat().items() if v != recorded[k] and k not in free]:
        raise UserError(
            f"the run in {path} goes on with the settings in its config.json; {changed[0]} is "
            f"{recorded[changed[0]]!r} there and cannot be changed"
        )
    return RunDirectory(path)


def _carry_out(run: Run) -> None:
    run.transport.join()
    if run.config.results.resume:
        go_on(run)
    projection = run.transport.projection.to_dict()
    tensors = {name: torch.from_numpy(values) for name, values in projection.items()}
    write_tensors(run.path / "projection.safetensors", tensors)
    if run.config.results.figures:
        # It takes seconds to import; meanwhile the hosts train and this process waits.
        Thread(target=lambda: [*map(import_module, DRAWING)], daemon=True).start()
    with event_log(run.config.results.log, run.path, run.state.round) as run.log:
        _run_rounds(run)
    finish(run)
    shutil.rmtree(run.path / "checkpoint", ignore_errors=True)


def _run_rounds(run: Run) -> None:
    """Run the rounds that are left, bringing ``run`` up to date and writing it down after each.

    A privacy budget that the next round would exceed ends the rounds early, and so do two rounds in
    a row in which all hosts fail or are silent.
    """
    total, first = run.config.federation.num_server_rounds, run.state.round
    every, show = checkpoint_interval(run), run.show or Progress(total, first).show
    _write_down(run, show, time.monotonic())
    report, due, idle = Report(False, {}), False, 0
    for number in range(first + 1, total + 1):
        started = time.monotonic()
        try:
            run.state, report = run.transport.round(run.state)
        except PrivacyBudgetExhausted as end:
            run.status, run.reason = "stopped", str(end)
            say(f"stopped before round {number}: {end}")
            break
        rejections = [vars(rejection) for rejection in report.rejections]
        run.record = {"round": number, "train": report.metrics, "rejections": rejections}
        due = due or (bool(every) and (number % every == 0 or number == total))
        idle = idle + 1 if report.hopeless else 0
        if due and run.state.counted and not idle:
            due = not save_checkpoint(run)
        _write_down(run, show, started, bool(idle))
        if idle > 1:
            break  # what fails everywhere will fail again
    one = next((f" (client {r.client}: {r.reason})" for r in report.rejections), "")
    why = f"{one}; the log says of all clients why they were left out"
    if not run.state.counted and run.status == "completed":
        raise RunFailed(f"not one round of training counted, of {run.state.round} tried{why}")
    if run.state.round < total and idle > 1:
        raise RunFailed(
            f"all hosts failed in rounds {run.state.round - 1} and {run.state.round}{why}"
        )


def _write_down(run: Run, show: Show, started: float, idle: bool = False) -> None:
    """Write down the last round, and score all clients and show it if that is due.

    After an idle round, in which all hosts failed, nothing is new but what the last one must have.
    """
    number, scores = run.state.round, dict[str, dict[str, Any]]()
    last = number == run.config.federation.num_server_rounds
    if due := last or (number % run.config.results.evaluate_every == 0 and not idle):
        table = run.transport.score(run.state)
        if not table.columns and last:
            raise RunFailed("no host scored its clients after the last round; the log says why")
        run.table, due = (table, due) if table.columns else (run.table, False)
    if due:
        for metric in ("accuracy", "loss"):
            values = run.table.columns[metric]
            scores[metric] = {**spread(values, metric == "accuracy"), "deciles": [math.nan] * 11}
            if values.dim():  # not where only means are known
                tenths = torch.linspace(0, 1, 11, dtype=values.dtype)
                deciles = values.quantile(tenths).tolist()
                scores[metric] |= {"deciles": deciles, "clients": len(values)}
    record = {**run.record, **scores, "seconds": time.monotonic() - started}
    run.directory.add_round(record)
    run.log(record)
    if due:
        show(number, scores)
