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
    """What carries a run: a federation in this process, or Flower's grid of hosts."""

    model: Model
    projection: Projection

    @property
    def hosts(self) -> int:
        """Number of hosts."""
        ...

    def join(self) -> None:
        """Wait until all hosts are there."""
        ...

    def init(self) -> State:
        """Return the state before the first round."""
        ...

    def round(self, state: State) -> tuple[State, Report]:
        """Run one round, as ``Federation.round``."""
        ...

    def score(self, state: State) -> ClientTable:
        """Score all clients, as ``Federation.score``."""
        ...

    def routing(self, state: State) -> ClientTable:
        """Return all clients' expert loads by class, as ``Federation.routing``."""
        ...

    def unseen(self, state: State) -> ClientTable:
        """Fit and test unseen clients, as ``Federation.unseen``."""
        ...

    def save_experts(self, state: State, folder: Path) -> None:
        """Have every host write the local parameters of its clients."""
        ...

    def remembering(self) -> list[object]:
        """Return the parts of the server that remember something from round to round."""
        ...

    def memory(self, state: State) -> Memory:
        """Return what they remember."""
        ...

    def save(self, state: State, folder: Path) -> str:
        """Have every host write what it keeps; return why one did not, or nothing."""
        ...

    def restore(self, state: State, folder: Path, hosts: int, memory: Memory) -> State:
        """Return the state with all that hosts wrote and the server remembered."""
        ...


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
