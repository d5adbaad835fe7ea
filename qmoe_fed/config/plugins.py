"""What a name means: an import path, and the object a user names by one: ``"my_file:MyRouter"``."""

import importlib
import importlib.util
import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import FunctionType
from typing import Any

from qmoe_fed.errors import UserError, unknown

AGGREGATORS = {
    "mean": "strategies.aggregators:mean",
    "median": "strategies.aggregators:median",
    "trimmed-mean": "strategies.aggregators:trimmed_mean",
    "krum": "strategies.aggregators:krum",
}
SERVER_STEPS = {
    "plain": "strategies.server_steps:Plain",
    "momentum": "strategies.server_steps:Momentum",
    "adam": "strategies.server_steps:Adam",
}
MECHANISMS = {
    "central-dp": "strategies.central_dp:CentralDP",
    "local-dp": "strategies.local_dp:LocalDP",
    "secure-sum": "strategies.secure_sum.mechanism:SecureSum",
}


def _import_own_strategies() -> None:
    """Make sure that ``strategies`` is the package beside this one, whatever else is called so.

    Raises:
        UserError: Another module of that name has been imported already.
    """
    home = Path(__file__).resolve().parents[2]
    own = home / "strategies" / "__init__.py"
    found = importlib.util.find_spec("strategies")
    if not own.exists() or (found and found.origin and Path(found.origin).resolve() == own):
        return
    if "strategies" in sys.modules and found:
        raise UserError(f"{found.origin} takes the place of the package strategies: rename it")
    sys.path.insert(0, str(home))
    try:
        importlib.invalidate_caches()
        importlib.import_module("strategies")
    finally:
        sys.path.remove(str(home))


def as_setting(value: object) -> Any:
    """Return what stands for a value in the settings: for a class or function, its import path."""
    import numpy as np  # the command line starts without it

    if isinstance(value, type | FunctionType):
        return f"{value.__module__}:{value.__qualname__}"
    if isinstance(value, np.generic):
        return value.item()
    return str(value) if isinstance(value, Path) else value


def call(what: str, function: Callable[..., Any], *arguments: object) -> Any:
    """Return what a user's function returns; UserError of one line if it raises anything."""
    try:
        return function(*arguments)
    except UserError:
        raise
    except Exception as error:  # anything
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise UserError(f"{what} raised {reason}") from error


def load_object(path: str, what: str) -> Any:
    """Return the object at an import path ``"package.module:attribute"``.

    A module that is not installed is looked for in the current directory, after everything else,
    so that a file there can never take the place of an installed module. What a module raises
    while it is imported is passed on with its traceback.

    Raises:
        UserError: The path of ``what`` is malformed, or there is no such module or attribute.
    """
    module_name, _, attribute = path.partition(":")
    if not all(part.isidentifier() for part in [*module_name.split("."), attribute]):
        raise UserError(f"{what} {path!r}: expected an import path 'package.module:attribute'")
    _import_own_strategies()
    if (here := os.getcwd()) not in sys.path:
        sys.path.append(here)
    importlib.invalidate_caches()
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        # A module that exists but needs one that does not is a fault of its own.
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise
        raise UserError(
            f"{what} {path!r}: no module {error.name!r} is installed, and there is none in {here}"
        ) from error
    if not hasattr(module, attribute):
        public = [name for name in vars(module) if not name.startswith("_")]
        raise unknown(f"{what} in module {module_name}:", attribute, public)
    return getattr(module, attribute)
