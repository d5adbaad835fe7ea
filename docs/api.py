"""Writes pages of all that is public, from the docstrings: ``make docs``.

Public is what these modules list in ``__all__``.
"""

import importlib
import sys
from pathlib import Path

import pdoc

PUBLIC = ("qmoe_fed", *(f"qmoe_fed.{name}" for name in ("circuits", "federated", "results")))
PUBLIC += ("qmoe_fed.rng", "strategies")


def build(folder: Path) -> None:
    """Write a page for each public module into a folder."""
    for name in PUBLIC:
        module = importlib.import_module(name)
        for member in module.__all__:
            # some are imported when they are asked for, which pdoc does not know of
            setattr(module, member, getattr(module, member))
    pdoc.render.configure(docformat="google", search=False)
    pdoc.pdoc(
        *(part for name in PUBLIC for part in (name, f"!{name}[.].*")), output_directory=folder
    )


if __name__ == "__main__":
    build(Path(sys.argv[1]))
