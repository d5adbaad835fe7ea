"""What a run leaves behind: its directory, how to open it again, tables and pictures."""

from qmoe_fed.results.load import Run, load_run

__all__ = ["Run", "load_run"]
