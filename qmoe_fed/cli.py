"""The command line ``qmoe-fed``."""

import argparse
import shlex
import sys
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib.metadata import version
from io import TextIOWrapper
from signal import SIGINT
from typing import NoReturn

from qmoe_fed.config.settings import expanded
from qmoe_fed.errors import RunFailed, UserError

EXAMPLES = """\
examples:
  qmoe-fed run simulations/moons_fed
  qmoe-fed run simulations/moons_fed --run-config "num-clients=100 router='linear'"
  qmoe-fed run simulations/moons_fed --run-config my.toml --run-config seed=1
  qmoe-fed run simulations/moons_fed --resume runs/moons-fed-20261120-093000
"""

Command = Callable[[argparse.Namespace], int]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Returns:
        The exit status: 0, all done; 1, the run failed; 2, what the user asked for cannot be
        done; 128 + n, stopped by signal n.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # what a terminal cannot show is no reason to fail
            stream.reconfigure(errors="replace")
    try:
        options = _parser().parse_args(arguments)
        status: int = options.command(options)
    except UserError as error:
        return _say(2, f"error: {error}")
    except KeyboardInterrupt:  # before there is a run to stop
        return _say(128 + SIGINT, "stopped")
    return status


def run(options: argparse.Namespace) -> int:
    """Run a Flower app from start to end, or from where it was stopped, and say why if it fails."""
    from qmoe_fed.launch.app import FlowerApp, parse_run_config, settle, settle_resumed
    from qmoe_fed.launch.superlink import run_on_superlink
    from qmoe_fed.results import checkpoint
    from qmoe_fed.signals import Stopped, stoppable

    nodes, app = options.supernodes, FlowerApp.read(expanded("APP", options.app))
    if options.resume is None:
        settings = settle(app, parse_run_config(options.run_config), options.output_dir, nodes)
    elif options.run_config or options.output_dir:
        raise UserError(
            "--resume goes on with the settings and in the directory of that run: leave out "
            "--run-config and --output-dir"
        )
    else:
        settings = settle_resumed(app, expanded("--resume", options.resume))
    results, status = settings.output_dir, 0
    try:
        with stoppable():
            if settings.config.federation.engine == "local":
                from qmoe_fed.federated.flower.grid import run_app

                run_app(app.path, {**app.settings, **settings.overrides}, nodes or 1)
            else:
                run_on_superlink(app.path, settings.overrides, results, nodes or 2, options.verbose)
    except UserError as error:
        status = _say(2, f"error: {error}")
    except RunFailed as error:
        status = _say(1, f"error: {error} (logs: {results})")
    except Stopped as stop:
        status = _say(128 + stop.signal, f"stopped; results so far: {results}")
    except Exception:  # of the app's; what comes last is how to go on
        status = _say(1, traceback.format_exc().rstrip())
    if not any(results.iterdir()):
        results.rmdir()
    if status and checkpoint.exists(results):
        command = ["qmoe-fed", "run", options.app, "--resume", str(results)]
        command += ["--supernodes", str(nodes)] if nodes else []
        _say(status, f"go on with: {shlex.join(command)}")
    return status


def _say(status: int, text: str) -> int:
    """Print why the command ends with an exit status, and return that."""
    print(text, file=sys.stderr)
    return status


def plot(options: argparse.Namespace) -> int:
    """Draw the pictures of a finished run again and say where they are."""
    from qmoe_fed.results.figures import draw_all

    for path in draw_all(expanded("RUN_DIR", options.run_dir)):
        print(path)
    return 0


def report(options: argparse.Namespace) -> int:
    """Write the page of finished runs and say where it is."""
    from qmoe_fed.results.report import report

    output = expanded("--output", options.output) if options.output else None
    print(report([expanded("RUN_DIR", name) for name in options.run_dirs], output))
    return 0


def watch(options: argparse.Namespace) -> int:
    """Show a run until it ends; Ctrl-C ends the watching, not the run."""
    from qmoe_fed.results.watch import watch

    with suppress(KeyboardInterrupt):
        return 0 if watch(expanded("RUN_DIR", options.run_dir)) else 1
    return 128 + SIGINT


def new(options: argparse.Namespace) -> int:
    """Make a Flower app in a new directory and say how to run it."""
    from qmoe_fed.launch.new import new_app

    print(f"qmoe-fed run {shlex.quote(str(new_app(expanded('DIR', options.dir))))}")
    return 0


def certificates(options: argparse.Namespace) -> int:
    """Make certificates and keys for a deployment and say where they are."""
    from qmoe_fed.launch.certificates import make_certificates

    folder = expanded("DIR", options.dir)
    for path in make_certificates(folder, options.hosts, options.supernodes):
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

    def adding(does: Command, text: str, about: str, examples: str = "") -> Callable[..., object]:
        name, plain = does.__name__, argparse.RawDescriptionHelpFormatter
        command = commands.add_parser(
            name, help=text, description=about, epilog=examples, formatter_class=plain
        )
        command.set_defaults(command=does)
        return command.add_argument

    about = "Run a Flower app; exit with 0 only if it wrote complete results."
    add = adding(run, "run a Flower app", about, EXAMPLES)
    add("app", metavar="APP", help="directory of the app")
    text = (
        "settings that replace the app's own: 'key=value …' as for flwr run, or a TOML file; "
        "may be repeated, what comes later wins"
    )
    add("--run-config", action="append", default=[], metavar="SETTINGS", help=text)
    text = "number of SuperNodes that share the clients (default: 2, or 1 if engine is 'local')"
    add("--supernodes", type=_count, metavar="N", help=text)
    text = "directory of the results (default: the setting output-dir, or runs/APP-DATE-TIME)"
    add("--output-dir", metavar="DIR", help=text)
    text = "go on with a run that was stopped or failed, from its last checkpoint"
    add("--resume", metavar="RUN_DIR", help=text)
    add("--verbose", action="store_true", help="also show what Flower says about itself")

    text = "draw the pictures of a finished run again"
    about = "Draw the pictures of a finished run again, from its saved data alone."
    adding(plot, text, about)("run_dir", metavar="RUN_DIR", help="directory of the results")

    text = "write a page for the browser on finished runs, side by side"
    about = "Write one page on finished runs: one file, which needs no network."
    add = adding(report, text, about)
    add("run_dirs", metavar="RUN_DIR", nargs="+", help="directories of the results")
    text = "the page (default: report.html, in RUN_DIR if there is one, else here)"
    add("--output", metavar="FILE", help=text)

    text = "show a run that is going on, until it ends"
    about = "Show a run that is going on; exit with 1 if it fails."
    adding(watch, text, about)("run_dir", metavar="RUN_DIR", help="directory of the results")

    text = "make a Flower app of your own"
    about = "Make a Flower app in a new directory, all settings listed, for you to change."
    adding(new, text, about)("dir", metavar="DIR", help="where; its last part is the app's name")

    text = "make certificates and keys for a deployment"
    about = "Make what SuperLink and SuperNodes need for TLS and to prove who they are."
    add = adding(certificates, text, about)
    add("dir", metavar="DIR", help="folder for the files; it is made")
    text = "names and addresses under which SuperNodes and you reach the SuperLink"
    add("hosts", metavar="HOST", nargs="+", help=text)
    text = "number of SuperNodes to make keys for (default: 2)"
    add("--supernodes", type=_count, metavar="N", default=2, help=text)
    return parser


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
