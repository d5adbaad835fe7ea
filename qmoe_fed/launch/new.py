"""Makes a Flower app of a user's own, from a template: the app of Two Moons in ``simulations/``."""

import re
from importlib.util import find_spec
from keyword import iskeyword
from pathlib import Path
from shutil import copytree, ignore_patterns

from qmoe_fed.errors import UserError

TEMPLATE = Path(__file__).with_name("template")
MODULE, PROJECT = "moons_fed", "moons-fed"
NAME = re.compile(r"[a-z][a-z0-9_]{0,31}(?<!_)")
"""What can be the name of a module and, with hyphens for underscores, of a Flower app."""


def new_app(path: Path) -> Path:
    """Write a Flower app into a new directory, named after it; return the directory.

    Raises:
        UserError: There is something already, the name cannot be that of an app, or the directory
            cannot be made.
    """
    name = path.name
    if not NAME.fullmatch(name) or iskeyword(name):
        raise UserError(
            f"no app can be called {name!r}: take up to 32 small letters, digits and underscores, "
            "as in my_app"
        )
    if find_spec(name):
        raise UserError(f"{name!r} is the name of an installed module; take another")
    if path.exists():
        raise UserError(f"{path} is there already; name a new directory")
    project = name.replace("_", "-")
    try:
        copytree(TEMPLATE, path, ignore=ignore_patterns("__pycache__"))
        (path / MODULE).rename(path / name)
        file = path / "pyproject.toml"
        text = file.read_text(encoding="utf-8").replace(f'"{PROJECT}"', f'"{project}"')
        text = text.replace(f'"{MODULE}.', f'"{name}.')
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UserError(f"cannot make {error.filename}: {error.strerror}") from error
    return path
