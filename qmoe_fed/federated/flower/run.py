"""A run under way: how far it has come, how that is saved, and how a run goes on from there.

At a checkpoint every host writes what is private to its clients; the server writes the rest. A
strategy or a mechanism that remembers something must be able to say what (``state_dict``), or
there are no checkpoints: a run that went on without it would be another run, and its privacy a
false promise.
"""

import logging
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flwr.serverapp import strategy as flower
from torch import Tensor

from qmoe_fed.config import Config
from qmoe_fed.errors import UserError
from qmoe_fed.federated.federation import State
from qmoe_fed.federated.flower.messages import ROUND
from qmoe_fed.federated.flower.strategy import RouterStrategy
from qmoe_fed.federated.flower.transport import FlowerTransport
from qmoe_fed.federated.mechanism import Memory, group_of, grouped
from qmoe_fed.federated.updates import ClientTable
from qmoe_fed.results.checkpoint import SERVER, make_current, next_folder, read_current
from qmoe_fed.results.events import Log
from qmoe_fed.results.forms import check_tensors, damaged
from qmoe_fed.results.progress import Show, say
from qmoe_fed.results.run_directory import RunDirectory, read_tensors, write_tensors

_NAMES = "Bulyan FedAvg FedMedian FedProx FedTrimmedAvg Krum MultiKrum QFedAvg"
STATELESS = tuple(vars(flower)[name] for name in _NAMES.split())
"""Flower's strategies that remember nothing from one round to the next."""

logger = logging.getLogger("flwr")


@dataclass
class Run:
    """A run under way: what carries it, where it is written down, and how far it has come.

    ``table`` has the scores of all clients after the last scored round; ``record`` is what is
    written down of the last round besides, its ``train`` is what the strategy reported.
    """

    transport: FlowerTransport
    directory: RunDirectory
    state: State
    started: float  # time.monotonic() at the start, less what it took to come to a checkpoint
    status: str = "completed"  # or "stopped" when a privacy budget ended it early
    reason: str = ""  # why it was stopped
    table: ClientTable = field(default_factory=ClientTable)
    record: dict[str, Any] = field(default_factory=lambda: {"round": 0})
    missing: set[int] = field(default_factory=set)  # hosts that were not part of a checkpoint
    log: Log = lambda record: None  # also takes what is written down of each round
    show: Show | None = None  # takes the place of what is printed of rounds and of the end

    @property
    def path(self) -> Path:
        """The directory of the run."""
        return self.directory.path

    @property
    def config(self) -> Config:
        """The settings of the run."""
        return self.transport.config

    def place(self, folder: Path) -> dict[str, str]:
        """Return a folder of the run as hosts are told of it."""
        return {"run": str(self.path), "folder": str(folder.relative_to(self.path))}

    def write_shared(self) -> None:
        """Write down what all clients hold: what is shared, and a router that is frozen."""
        held = {**self.transport.model.frozen, **self.state.shared}
        write_tensors(self.path / "shared.safetensors", held)


def told_of(faults: Mapping[int, str]) -> str:
    """Return in one line what went wrong on which host."""
    return "; ".join(f"host {number}: {' '.join(why.split())}" for number, why in faults.items())


def checkpoint_interval(run: Run) -> int:
    """Return after how many rounds a checkpoint is due; 0: never.

    With privacy mechanisms it is every round, and the checkpoint is made before the new shared
    parameters leave the server. A round that was released is therefore never run again: its noise
    would be the same, and if other clients failed than at first, the difference would be theirs.
    """
    every, strategy = run.config.results.checkpoint_every, run.transport.strategy
    if not every:
        return 0
    parts: list[object] = [] if type(strategy) in STATELESS else [strategy]
    if isinstance(strategy, RouterStrategy):
        parts += [one for one in strategy.rules.mechanisms if one.runs_on_server]
    for kind in map(type, parts):
        # a class that inherits both halves may remember more than they know of
        if not {"state_dict", "load_state_dict"} <= vars(kind).keys():
            reason = f"{kind.__name__} does not define state_dict and load_state_dict"
            say(f"no checkpoints, a run that is stopped cannot go on: {reason}")
            return 0
    _memory(run)  # what cannot be written is refused before the first round
    return 1 if run.config.privacy.mechanisms else every


def save_checkpoint(run: Run) -> bool:
    """Write down all of a run, after a round and before its scores, and make it current.

    Return whether that is done. If a host cannot do its part, the checkpoint before stays, all of
    one round, and another is due after the next; if that host cannot then either, the others do
    not wait, and what it wrote last stays part of the checkpoint. With privacy mechanisms they do
    not wait at all: a round that was released is never run again.
    """
    state, folder, before = run.state, next_folder(run.path), run.transport.written
    where, hosts = run.place(folder), len(run.transport.hosts.nodes)
    faults = run.transport.tell("query.checkpoint", {**where, ROUND: state.round})
    put_off = bool(faults.keys() - run.missing) and not run.config.privacy.mechanisms
    run.missing = {*faults}
    if faults:
        told = "no checkpoint" if put_off else "checkpoint of the others"
        logger.warning("%s after round %d: %s", told, state.round, told_of(faults))
    if put_off:
        return False
    folders, rounds = [where["folder"]] * hosts, [state.round] * hosts
    for host in faults:
        known = len(before.get("rounds", ())) == hosts  # else clients have changed their hosts
        folders[host] = before["folders"][host] if known else ""
        rounds[host] = before["rounds"][host] if known else 0
    memory = _memory(run)
    kept = {k: v for k, v in memory.items() if isinstance(v, Tensor)}
    tensors = grouped({"shared": state.shared, "table": run.table.columns, "strategy": kept})
    write_tensors(folder / SERVER, {**tensors, "clients": run.table.clients})
    content = {
        "round": state.round,
        "folders": folders,
        "rounds": rounds,
        "counted": state.counted,
        "record": run.record,
        "columns": list(run.table.columns),
        "strategy": {k: v for k, v in memory.items() if k not in kept},
        "seconds": time.monotonic() - run.started,
    }
    make_current(run.path, folder, content)
    run.transport.written = _written(run, content)
    return True


def go_on(run: Run) -> None:
    """Bring hosts, strategy, run and files to the last checkpoint; UserError if there is none."""
    folder, content = read_current(run.path)
    number, tensors = content["round"], read_tensors(folder / SERVER)
    check_tensors(folder / SERVER, tensors, grouped({"shared": run.state.shared}))
    run.transport.written = _written(run, content)
    if faults := run.transport.tell("query.restore", run.transport.written):
        raise UserError(f"cannot go on after round {number}: {told_of(faults)}")
    memory: Memory = {**group_of(tensors, "strategy"), **content["strategy"]}
    try:
        if type(run.transport.strategy) not in STATELESS:
            run.transport.strategy.load_state_dict(memory)  # type: ignore[attr-defined]
        columns = {name: tensors[f"table.{name}"] for name in content["columns"]}
        run.table, run.record = ClientTable(tensors["clients"], columns), content["record"]
    except (LookupError, TypeError, ValueError, RuntimeError) as error:
        raise damaged(folder / SERVER, repr(error)) from error
    device, shared = run.config.training.device, group_of(tensors, "shared")
    ordered = {name: shared[name].to(device) for name in run.state.shared}
    run.state = State(ordered, number, content["counted"])
    run.started -= content["seconds"]
    run.directory.cut_rounds(number)
    (run.path / "summary.json").unlink(missing_ok=True)
    shutil.rmtree(run.path / "experts", ignore_errors=True)  # of other hosts, perhaps
    behind = {i: n for i, n in enumerate(content["rounds"]) if n < number}
    told = [f"; host {host} with what it wrote after round {last}" for host, last in behind.items()]
    say(f"going on after round {number}{''.join(told)}")


def _written(run: Run, content: Mapping[str, Any]) -> dict[str, Any]:
    """Return what ``query.restore`` says of a checkpoint: which host wrote where, and when."""
    return {"run": str(run.path), "folders": content["folders"], "rounds": content["rounds"]}


def _memory(run: Run) -> Memory:
    """Return what the strategy remembers."""
    if type(run.transport.strategy) in STATELESS:
        return {}
    memory: Memory = run.transport.strategy.state_dict()  # type: ignore[attr-defined]
    for name, value in memory.items():
        if not isinstance(value, int | float | Tensor):
            raise UserError(f"state_dict: {name} is {value!r}, expected a number or a tensor")
    return memory
