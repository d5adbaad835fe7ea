"""Runs a Flower app on a SuperLink of its own, which is gone when the run ends.

The SuperLink that ``flwr run`` starts by itself stays for later runs, with the environment and
the working directory of the first one, and whatever becomes of a run, ``flwr run`` exits with 0.
Here each run has its own Flower home, port and Ray directory, and failure is told as failure.
"""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import closing
from pathlib import Path

import tomli_w

from qmoe_fed.config import Scalar
from qmoe_fed.errors import UserError
from qmoe_fed.processes import MARK, scratch_directory

FLOWER_CONFIG = '[superlink]\ndefault = "local"\n[superlink.local]\naddress = ":local-in-memory:"\n'
COLOUR = re.compile(r"\x1b\[[0-9;]*m")
CHATTER = re.compile(
    r"(\(.* pid=\d+\) )?(INFO|DEBUG)\s*:"
    r"|WARNING\s*: +Since flwr 1\.32, default simulated SuperNodes changed"
    r"|\(.* pid=\d+\) WARNING\s*: +Manually terminating ClientAppActor"
    r"|Starting local SuperLink|Using SuperLink:|Successfully (started run|installed) "
)
FATAL = re.compile(r"ERROR\s*: +Simulation raised an exception")
USER_ERROR = re.compile(rf"{re.escape(UserError.__module__)}\.UserError: (.*)")


class RunFailed(Exception):
    """A run ended without results; the message says why."""


def run_on_superlink(
    app: Path,
    overrides: Mapping[str, Scalar],
    output_dir: Path,
    supernodes: int,
    verbose: bool = False,
) -> None:
    """Run a Flower app as a Ray simulation and print what it prints.

    The whole log is kept as ``flower.log`` in the output directory. No process is left behind,
    whatever happens.

    Args:
        app: Directory of the app.
        overrides: Settings that replace the app's own.
        output_dir: Directory of the results, the same that the settings name.
        supernodes: Number of SuperNodes to simulate.
        verbose: Also print what Flower says about itself.

    Raises:
        UserError: The app raised one.
        RunFailed: The run ended in any other way than with complete results.
    """
    with scratch_directory() as scratch:
        environment = _environment(scratch)
        run_config = scratch / "run-config.toml"
        run_config.write_text(tomli_w.dumps(overrides), encoding="utf-8")
        command = ["flwr", "run", str(app), "--stream", "--run-config", str(run_config)]
        command += ["--federation-config"]
        command += [f"num-supernodes={supernodes} client-resources-num-cpus=1"]
        with closing(_lines(command, environment, output_dir / "flower.log")) as log:
            for line in visible(log, verbose):
                print(line, flush=True)
        _check_status(["flwr", "ls", "--format", "json"], environment)
    _check_summary(output_dir / "summary.json")


def visible(log: Iterable[str], verbose: bool) -> Iterator[str]:
    """Yield the lines of a log that are for the user.

    Raises:
        UserError: The app ended with one; its traceback is not yielded.
    """
    lines = iter(log)
    for line in lines:
        if FATAL.match(line):
            last_words = [line, *lines]
            if not verbose and (errors := list(filter(None, map(USER_ERROR.match, last_words)))):
                raise UserError(errors[-1][1])
            yield from last_words
        elif verbose or not CHATTER.match(line):
            yield line


def _lines(command: list[str], environment: dict[str, str], log: Path) -> Generator[str]:
    """Run ``flwr run``; yield what it prints without colours, and write it to a file."""
    with (
        log.open("w", encoding="utf-8") as file,
        subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
            start_new_session=True,  # Ctrl-C is for this process, which then ends the others
        ) as process,
    ):
        assert process.stdout
        try:
            for line in process.stdout:
                plain = COLOUR.sub("", line.rstrip("\n"))
                file.write(f"{plain}\n")
                file.flush()
                yield plain
        except BaseException:
            process.kill()
            raise
    if process.returncode:
        raise RunFailed(f"`flwr run` could not run the app (exit status {process.returncode})")


def _check_status(command: list[str], environment: dict[str, str]) -> None:
    """Ask the SuperLink how its only run ended."""
    answer = subprocess.run(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8"
    )
    try:
        run = json.loads(answer.stdout)["runs"][0]
    except (json.JSONDecodeError, LookupError) as error:
        raise RunFailed(
            f"the SuperLink does not tell how the run ended: {answer.stdout}"
        ) from error
    if run["status"] != "finished:completed":
        raise RunFailed(f"the run ended as {run['status']}: {run['status-details']}")


def _check_summary(path: Path) -> None:
    if not path.exists():
        raise RunFailed(f"the app ended without writing {path}")
    status = json.loads(path.read_text(encoding="utf-8")).get("status")
    if status not in ("completed", "stopped"):
        raise RunFailed(f"the run has status {status!r} in {path}")


def _environment(scratch: Path) -> dict[str, str]:
    """Return an environment that keeps a run to itself and to its scratch directory."""
    home = scratch / "flwr"
    home.mkdir()
    (home / "config.toml").write_text(FLOWER_CONFIG)
    return {
        **os.environ,
        MARK: str(scratch),
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]),
        "PYTHONUNBUFFERED": "1",
        "PYTHONIOENCODING": "utf-8",
        "COLUMNS": str(shutil.get_terminal_size().columns),
        "FLWR_HOME": str(home),
        "FLWR_LOCAL_SUPERLINK_HTTP_API_PORT": str(_free_port()),
        "FLWR_TELEMETRY_ENABLED": "0",
        "FLWR_DISABLE_UPDATE_CHECK": "1",
        "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
        "RAY_TMPDIR": str(scratch),
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # leaves the GPU visible to clients
    }


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
    return port
