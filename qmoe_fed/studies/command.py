"""The command line of a study: where its settings come from, and how it ends."""

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn, TypeVar

import torch

from qmoe_fed.config.settings import Tree, read_toml
from qmoe_fed.errors import UserError
from qmoe_fed.launch.processes import Stopped, stoppable

Settings = TypeVar("Settings", bound=Tree)


def main(
    run: Callable[[Settings], None],
    kind: type[Settings],
    quick: Mapping[str, Any],
    description: str,
    arguments: Sequence[str] | None = None,
    data_dir: bool = False,
) -> int:
    """Read the settings of a study from the command line and run it.

    What the command line says goes before ``--quick``, that before the config file.

    Args:
        run: Runs the study.
        kind: Of its settings.
        quick: Settings of a run that takes seconds.
        description: Of the study, for ``--help``.
        arguments: What was typed; None for that of this process.
        data_dir: Whether the study reads image files.

    Returns:
        The exit status: 0, all done; 2, what the user asked for cannot be done; 128 + n, stopped
        by signal n.
    """
    try:
        options = _parser(description, data_dir).parse_args(arguments)
        flags = {key: value for key, value in vars(options).items() if key in _FLAGS}
        given = {key.replace("_", "-"): value for key, value in flags.items() if value is not None}
        written = read_toml(options.config) if options.config else {}
        settings = kind.from_flat({**written, **(quick if options.quick else {}), **given})
        torch.set_num_threads(1)  # the tensors are small, and there are processes for the cores
        with stoppable():
            run(settings)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except Stopped as stop:
        print("stopped", file=sys.stderr)
        return 128 + stop.signal
    return 0


_FLAGS = {"seeds", "output_dir", "data_dir"}


class _Parser(argparse.ArgumentParser):
    """Reports bad arguments like every other mistake of the user: in one line."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message} (see --help)")


def _parser(description: str, data_dir: bool) -> argparse.ArgumentParser:
    parser = _Parser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--config", metavar="FILE", help="TOML file of settings, as those in configs/")
    add("--output-dir", metavar="DIR", help="directory of the results; it must be new or empty")
    add("--seeds", type=int, metavar="K", help="number of seeds: of the data and of the start")
    add("--quick", action="store_true", help="a first look in less than 30 seconds")
    if data_dir:
        text = "folder that holds mnist/ and fashion-mnist/ with their IDX files"
        add("--data-dir", metavar="DIR", help=text)
    return parser
