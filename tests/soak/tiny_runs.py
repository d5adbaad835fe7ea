"""A small run from the command line, in this process."""

from pathlib import Path

import tomli_w
from soaking import command

APP = Path(__file__).parents[2] / "simulations" / "moons_fed"
TINY = {
    "engine": "local",
    "expert-fit": "gradient",
    "num-clients": 4,
    "num-unseen-clients": 2,
    "num-server-rounds": 3,
    "train-samples": 8,
    "test-samples": 6,
    "local-epochs": 1,
    "unseen-samples": "4",
    "unseen-epochs": 2,
    "checkpoint-every": 1,
    "figures": False,
}


class Power(BaseException):
    """The power goes; nothing of ours catches this."""


def run_tiny(folder: Path, **changes: object) -> str:
    """Run a small federation into a folder; return what became of it."""
    named = {key.replace("_", "-"): value for key, value in changes.items()}
    file = folder.with_suffix(".toml")
    file.write_text(tomli_w.dumps({**TINY, **named}), encoding="utf-8")
    settings = ("--run-config", str(file), "--output-dir", str(folder), "--supernodes", "2")
    return command("run", str(APP), *settings)
