"""The command line ``qmoe-fed``."""

import argparse
import shlex
import sys
import traceback
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from signal import SIGINT
from typing import TYPE_CHECKING, NoReturn

from qmoe_fed.errors import UserError

if TYPE_CHECKING:
    from qmoe_fed.launch.app import FlowerApp, RunSettings

EXAMPLES = """\
examples:
  qmoe-fed run simulations/moons_fed
  qmoe-fed run simulations/moons_fed --run-config "num-clients=100 router='linear'"
  qmoe-fed run simulations/moons_fed --run-config my.toml --run-config seed=1
  qmoe-fed run simulations/moons_fed --resume runs/moons-fed-20261120-093000
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Returns:
        The exit status: 0, all done; 1, the run failed; 2, what the user asked for cannot be
        done; 128 + n, stopped by signal n.
    """
    try:
        options = _parser().parse_args(arguments)
        status: int = options.command(options)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:  # before there is a run to stop
        print("stopped", file=sys.stderr)
        return 128 + SIGINT
    return status


def run(options: argparse.Namespace) -> int:
    """Run a Flower app from start to end, or from where it was stopped."""
    from qmoe_fed.launch.app import FlowerApp, parse_run_config, settle, settle_resumed
    from qmoe_fed.results import checkpoint

    app = FlowerApp.read(Path(options.app).expanduser())
    if options.resume is None:
        settings = settle(app, parse_run_config(options.run_config), options.output_dir)
    elif options.run_config or options.output_dir:
        raise UserError(
            "--resume goes on with the settings and in the directory of that run: leave out "
            "--run-config and --output-dir"
        )
    else:
        settings = settle_resumed(app, Path(options.resume).expanduser())
    results = settings.output_dir
    status = _run(app, settings, options)
    if not any(results.iterdir()):
        results.rmdir()
    if status and checkpoint.exists(results):
        command = ["qmoe-fed", "run", options.app, "--resume", str(results)]
        if options.supernodes:
            command += ["--supernodes", str(options.supernodes)]
        print(f"go on with: {shlex.join(command)}", file=sys.stderr)
    return status


def _run(app: "FlowerApp", settings: "RunSettings", options: argparse.Namespace) -> int:
    """Run an app and say why if it fails; return the exit status."""
    from qmoe_fed.launch.superlink import RunFailed, run_on_superlink
    from qmoe_fed.signals import Stopped, stoppable

    results = settings.output_dir
    try:
        with stoppable():
            if settings.config.federation.engine == "local":
                from qmoe_fed.federated.flower.grid import run_app

                run_app(app.path, {**app.settings, **settings.overrides}, options.supernodes or 1)
            else:
                nodes = options.supernodes or 2
                run_on_superlink(app.path, settings.overrides, results, nodes, options.verbose)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except RunFailed as error:
        print(f"error: {error} (logs: {results})", file=sys.stderr)
        return 1
    except Stopped as stop:
        print(f"stopped; results so far: {results}", file=sys.stderr)
        return 128 + stop.signal
    except Exception:  # of the app's; what comes last is how to go on
        traceback.print_exc()
        return 1
    return 0


def plot(options: argparse.Namespace) -> int:
    """Draw the pictures of a finished run again and say where they are."""
    from qmoe_fed.results.figures import draw_all

    for path in draw_all(Path(options.run_dir).expanduser()):
        print(path)
    return 0


class _Parser(argparse.ArgumentParser):
    """Reports bad arguments like every other mistake of the user: in one line."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message} (see {self.prog} --help)")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="qmoe-fed", description="Federated mixtures of private experts.")
    parser.add_argument("--version", action="version", version=f"qmoe-fed {version('qmoe-fed')}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    command = commands.add_parser(
        "run",
        help="run a Flower app",
        description="Run a Flower app; exit with 0 only if it wrote complete results.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.set_defaults(command=run)
    command.add_argument("app", metavar="APP", help="directory of the app")
    command.add_argument(
        "--run-config",
        action="append",
        default=[],
        metavar="SETTINGS",
        help="settings that replace the app's own: 'key=value …' as for flwr run, or a TOML file; "
        "may be repeated, what comes later wins",
    )
    command.add_argument(
        "--supernodes",
        type=_count,
        metavar="N",
        help="number of SuperNodes that share the clients (default: 2, or 1 if engine is 'local')",
    )
    command.add_argument(
        "--output-dir",
        metavar="DIR",
        help="directory of the results (default: the setting output-dir, or runs/APP-DATE-TIME)",
    )
    command.add_argument(
        "--resume",
        metavar="RUN_DIR",
        help="go on with a run that was stopped or failed, from its last checkpoint",
    )
    command.add_argument(
        "--verbose", action="store_true", help="also show what Flower says about itself"
    )

    command = commands.add_parser(
        "plot",
        help="draw the pictures of a finished run again",
        description="Draw the pictures of a finished run again, from its saved data alone.",
    )
    command.set_defaults(command=plot)
    command.add_argument("run_dir", metavar="RUN_DIR", help="directory of the results")
    return parser


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
