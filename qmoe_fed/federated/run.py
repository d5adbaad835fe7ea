"""A run: a federation, what carries it, and how far it has come."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from qmoe_fed.data import Projection
from qmoe_fed.federated.federation import Report, State
from qmoe_fed.federated.mechanism import Memory
from qmoe_fed.federated.model import Model
from qmoe_fed.federated.updates import ClientTable
from qmoe_fed.results.run_directory import RunDirectory


class Transport(Protocol):
    """What carries a run: a grid of Flower's, or whatever else can do this.

    ``round``, ``score``, ``routing`` and ``unseen`` do as ``Federation`` does. ``join`` waits until
    all hosts are there; ``save_experts`` and ``save`` have every host write what is its own, the
    latter returning why one did not; ``remembering`` are the parts of the server that remember
    something from round to round, ``memory`` what; ``restore`` brings all of it back.
    """

    model: Model
    projection: Projection

    @property
    def hosts(self) -> int: ...
    def join(self) -> None: ...
    def init(self) -> State: ...
    def round(self, state: State) -> tuple[State, Report]: ...
    def score(self, state: State) -> ClientTable: ...
    def routing(self, state: State) -> ClientTable: ...
    def unseen(self, state: State) -> ClientTable: ...
    def save_experts(self, folder: Path) -> None: ...
    def save(self, folder: Path, server_round: int) -> str: ...
    def remembering(self) -> list[object]: ...
    def memory(self) -> Memory: ...
    def restore(self, folder: Path, server_round: int, hosts: int, memory: Memory) -> None: ...


@dataclass
class Run:
    """A run under way.

    Attributes:
        transport: What carries it.
        directory: Where it is written down.
        state: Where its federation stands.
        status: ``completed``, or ``stopped`` when a privacy budget ended the run early.
        reason: Why it was stopped.
        table: Scores of all clients after the last scored round.
        record: What is written down of the last round, besides its scores; ``train`` is what the
            strategy reported.
        started: ``time.monotonic()`` at the start, less what it took to come to a checkpoint.
    """

    transport: Transport
    directory: RunDirectory
    state: State
    started: float
    status: str = "completed"
    reason: str = ""
    table: ClientTable = field(default_factory=ClientTable)
    record: dict[str, Any] = field(default_factory=lambda: {"round": 0})

    def write_shared(self) -> None:
        """Write the shared parameters down."""
        shared = {name: values.cpu().numpy() for name, values in self.state.shared.items()}
        self.directory.write_arrays("shared.safetensors", shared)

    def fail(self, error: BaseException) -> None:
        """Write down why the run ended, and what it had come to."""
        write_failure(self.directory, error, self.state.round)
        self.write_shared()


def write_failure(directory: RunDirectory, error: BaseException, rounds: int) -> None:
    """Write down why a run ended.

    The command line reads it: ``error`` is the name of the exception's class.
    """
    name = type(error).__name__
    content = {"status": "failed", "error": name, "reason": str(error) or name, "rounds": rounds}
    directory.write_json("summary.json", content)
