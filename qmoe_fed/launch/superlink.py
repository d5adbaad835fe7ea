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
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager, nullcontext
from http.client import HTTPConnection, HTTPException
from io import TextIOWrapper
from pathlib import Path
from subprocess import DEVNULL, PIPE, STDOUT
from typing import IO

import tomli_w

from qmoe_fed.config.settings import Scalar
from qmoe_fed.errors import RunFailed, UserError
from qmoe_fed.launch.processes import MARK, hurried, scratch_directory
from qmoe_fed.results.checkpoint import alone
from qmoe_fed.results.run_directory import read_json

START_TIMEOUT = 120.0  # seconds
END_TIMEOUT = 30.0  # seconds; how long Flower may take to end once the app has
HOST = "127.0.0.1"

COLOUR = re.compile(r"\x1b\[[0-9;]*m")
CHATTER = re.compile(
    r"(\(.* pid=\d+\) )?(INFO|DEBUG)\s*:"
    r"|WARNING\s*: +Since flwr 1\.32, default simulated SuperNodes changed"
    r"|\(.* pid=\d+\) WARNING\s*: +Manually terminating ClientAppActor"
    r"|Using SuperLink:|Successfully (started run|installed) "
)
FATAL = re.compile(r"ERROR\s*: +Simulation raised an exception")
REFUSED = UserError.__name__
TOLD = (REFUSED, RunFailed.__name__)


def run_on_superlink(
    app: Path, overrides: Mapping[str, Scalar], output_dir: Path, supernodes: int, verbose: bool
) -> None:
    """Run the Flower app in a directory as a Ray simulation and print what it prints.

    The whole log is kept as ``flower.log`` in the output directory, and after a failure that of
    the SuperLink as ``superlink.log``. No process is left behind, whatever happens.

    Args:
        overrides: Settings that replace the app's own, among them the ``output_dir``.
        verbose: Also print what Flower says about itself.

    Raises:
        UserError: The app refused what the user asked for, as its summary says.
        RunFailed: The run ended in any other way than with complete results.
    """
    check_ray(os.environ.get("RAY_ADDRESS", ""))
    summary = output_dir / "summary.json"
    summary.unlink(missing_ok=True)  # of an earlier attempt
    with scratch_directory() as scratch:
        with socket.create_server((HOST, 0)) as listener:
            port = listener.getsockname()[1]
        environment = _environment(scratch, port)
        run_config = scratch / "run-config.toml"
        run_config.write_text(tomli_w.dumps(overrides), encoding="utf-8")
        command = ["flwr", "run", str(app), "--stream", "--run-config", str(run_config)]
        nodes = f"num-supernodes={supernodes} client-resources-num-cpus=1"
        command += ["--federation-config", nodes]
        try:
            with _superlink(environment, port, scratch / "superlink.log"):
                lines = _lines(command, environment, output_dir / "flower.log", output_dir)
                with closing(lines) as log:
                    for line in visible(log, verbose, lambda: _outcome(summary)[0] in TOLD):
                        print(line, flush=True)
                check_outcome(summary, environment)
        except RunFailed:
            shutil.copy(scratch / "superlink.log", output_dir)
            raise


def check_ray(address: str) -> None:
    """Refuse a Ray cluster, ``host:port``, that nobody answers for: Ray would wait in silence."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not (host and port.isdecimal()):
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=5).close()
    except (OSError, OverflowError) as error:
        told = f"RAY_ADDRESS = {address!r}: {error}; start that cluster, or unset RAY_ADDRESS"
        raise UserError(told) from error


def _outcome(summary: Path) -> tuple[str, str]:
    """Return the error, or else the status, that the app says it ended with, and the reason."""
    said = read_json(summary) if summary.exists() else {}
    return said.get("error") or said.get("status", ""), f"{said.get('reason')}"


def check_outcome(summary: Path, environment: dict[str, str]) -> None:
    """Check that the app says its results are complete; errors as ``run_on_superlink``."""
    ended, reason = _outcome(summary)
    if not ended:
        raise RunFailed(f"the run ended {_in_words_of_flower(environment)}")
    if ended == REFUSED:
        raise UserError(reason)
    if ended not in ("completed", "stopped"):
        raise RunFailed(f"{ended}: {reason}")


@contextmanager
def _superlink(environment: dict[str, str], port: int, log: Path) -> Iterator[None]:
    """Run a SuperLink that keeps everything in memory; yield when it answers."""
    command = ["flower-superlink", "--simulation", "--insecure"]
    command += ["--host", HOST, "--port", str(port)]
    with log.open("wb") as file, _started(command, environment, file) as process:
        deadline = time.monotonic() + START_TIMEOUT
        while not _answers(port):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RunFailed(f"the SuperLink did not start on {HOST}:{port}")
            time.sleep(0.05)
        yield


def _answers(port: int) -> bool:
    with closing(HTTPConnection(HOST, port, timeout=1)) as connection:
        try:
            connection.request("GET", "/health")
            return connection.getresponse().status == 200
        except (OSError, HTTPException):
            return False


@contextmanager
def _started(
    command: list[str], environment: dict[str, str], out: int | IO[bytes]
) -> Iterator[subprocess.Popen[bytes]]:
    """Start a process out of reach of Ctrl-C, which is for this one; kill it on leaving."""
    with subprocess.Popen(
        command, env=environment, stdin=DEVNULL, stdout=out, stderr=STDOUT, start_new_session=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def _lines(
    command: list[str], environment: dict[str, str], log: Path, output_dir: Path
) -> Generator[str]:
    """Run ``flwr run``; yield what it prints without colours, and write it to a file.

    It would wait for a worker that is frozen for ever: once the app has come to its end, it has
    ``END_TIMEOUT`` seconds.
    """
    with (
        log.open("a", encoding="utf-8") as file,
        _started(command, environment, PIPE) as process,
        hurried(process, lambda: is_over(output_dir), END_TIMEOUT),
    ):
        assert process.stdout
        with TextIOWrapper(process.stdout, encoding="utf-8", errors="replace") as out:
            for line in out:
                text = plain(line)
                file.write(f"{text}\n")
                file.flush()
                yield text
        process.wait()
    if process.returncode and not is_over(output_dir):
        raise RunFailed(f"`flwr run` could not run the app (exit status {process.returncode})")


def is_over(output_dir: Path) -> bool:
    """Return whether an app has said how it ended, and has let go of its directory."""
    if not (output_dir / "summary.json").exists():
        return False
    try:
        with alone(output_dir) if (output_dir / "config.json").exists() else nullcontext():
            return True
    except UserError:  # it still draws pictures
        return False


def _in_words_of_flower(environment: dict[str, str]) -> str:
    """Ask the SuperLink how its only run ended."""
    command = ["flwr", "ls", "--format", "json"]
    answer = subprocess.run(command, env=environment, stdout=PIPE, stderr=STDOUT, encoding="utf-8")
    try:
        run = json.loads(answer.stdout)["runs"][0]
    except (json.JSONDecodeError, LookupError):
        return f"without a summary; `flwr ls` does not tell how: {answer.stdout}"
    return f"as {run['status']} without a summary: {run['status-details']}"


def _environment(scratch: Path, port: int) -> dict[str, str]:
    """Return an environment that keeps a run to itself and to its scratch directory."""
    home = scratch / "flwr"
    home.mkdir()
    superlink = {"default": "own", "own": {"address": f"{HOST}:{port}", "insecure": True}}
    (home / "config.toml").write_text(tomli_w.dumps({"superlink": superlink}), encoding="utf-8")
    unproxied = os.environ.get("no_proxy", os.environ.get("NO_PROXY", ""))
    return {
        **os.environ,
        MARK: str(scratch),
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]),
        "PYTHONUNBUFFERED": "1",
        "PYTHONIOENCODING": "utf-8",
        "COLUMNS": str(shutil.get_terminal_size().columns),
        "FLWR_HOME": str(home),
        "FLWR_TELEMETRY_ENABLED": "0",
        "FLWR_DISABLE_UPDATE_CHECK": "1",
        "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
        "no_proxy": f"{HOST},{unproxied}",
        "RAY_TMPDIR": str(scratch),
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # leaves the GPU visible to clients
    }


def plain(line: str) -> str:
    """Return a line of a log without colours and without its end."""
    return COLOUR.sub("", line.rstrip("\n"))


def visible(log: Iterable[str], verbose: bool, refused: Callable[[], bool]) -> Iterator[str]:
    """Yield the lines of a log that are for the user; all, if it is to be verbose.

    Once the app has failed, ``refused`` is asked whether it refused what the user asked for: its
    traceback is not yielded then.
    """
    failed = False
    for line in log:
        failed = failed or FATAL.match(line) is not None
        if verbose or not (refused() if failed else CHATTER.match(line)):
            yield line
