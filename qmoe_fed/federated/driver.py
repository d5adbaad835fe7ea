"""Carries out a whole run: its directory, its rounds, its end."""

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from threading import Thread

from qmoe_fed.config import Config
from qmoe_fed.errors import UserError
from qmoe_fed.federated.checkpoints import go_on
from qmoe_fed.federated.finish import finish
from qmoe_fed.federated.rounds import run_rounds
from qmoe_fed.federated.run import Run, Transport, write_failure
from qmoe_fed.results.checkpoint import alone, check_resumable
from qmoe_fed.results.run_directory import RunDirectory

DEFAULT_OUTPUT = "~/.qmoe_fed/runs"

FIGURES = "qmoe_fed.results.figures"


def carry_out(transport: Transport, app: str = "") -> Path:
    """Run a whole federation and return the path of its results.

    Each round is written down as it ends, and all there is to go on with at each checkpoint;
    whatever ends the run, ``summary.json`` says so.

    Args:
        transport: What carries the run.
        app: Which Flower app it is, ``publisher/name``.

    Raises:
        UserError: Its directory cannot be used, or not all hosts are there.
        RuntimeError: Not one round of training counted.
    """
    started, config = time.monotonic(), transport.model.config
    directory = _open_directory(config, app)
    with alone(directory.path):
        run = Run(transport, directory, transport.init(), started)
        try:
            transport.join()
            if config.results.resume:
                go_on(run)
            directory.write_arrays("projection.safetensors", transport.projection.to_dict())
            if config.results.figures:
                # It takes seconds to import; meanwhile the hosts train and this process waits.
                Thread(target=import_module, args=[FIGURES], daemon=True).start()
            run_rounds(run)
            finish(run)
        except BaseException as error:
            run.fail(error)
            raise
        shutil.rmtree(directory.path / "checkpoint", ignore_errors=True)
    return directory.path


@contextmanager
def told(output_dir: object) -> Iterator[None]:
    """Write down why the block fails, if it fails before the run has a directory of its own.

    Args:
        output_dir: Where the results would go, as the settings say.
    """
    try:
        yield
    except BaseException as error:
        if isinstance(output_dir, str) and output_dir:
            path = Path(output_dir).expanduser().absolute()
            if not (path / "config.json").exists():  # another run's, or it has been told
                with suppress(UserError):
                    write_failure(RunDirectory(path), error, 0)
        raise


def _open_directory(config: Config, app: str) -> RunDirectory:
    """Make the directory of a run, or open that of the one to go on with."""
    path = output_directory(config)
    if not config.results.resume:
        directory = RunDirectory.create(path, config, app)
        (path / "summary.json").unlink(missing_ok=True)  # of a run that could not start
        return directory
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
