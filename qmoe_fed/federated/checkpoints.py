"""When a checkpoint of a run is due, how it is made, and how a run goes on from one.

Every host writes what is private to its clients; the server writes the rest. A strategy or a
mechanism that remembers something must be able to say what (``state_dict``), or there are no
checkpoints: a run that went on without it would be another run, and its privacy a false promise.
"""

import logging
import shutil
import time

from safetensors.torch import load_file, save
from torch import Tensor

from qmoe_fed.errors import UserError
from qmoe_fed.federated.federation import State
from qmoe_fed.federated.mechanism import Memory
from qmoe_fed.federated.run import Run
from qmoe_fed.federated.updates import ClientTable
from qmoe_fed.results.checkpoint import SERVER, forget, make_current, next_folder, read_current
from qmoe_fed.results.progress import say
from qmoe_fed.results.run_directory import write_whole

logger = logging.getLogger("flwr")


def interval(run: Run) -> int:
    """Return after how many rounds a checkpoint is due; 0: never.

    With privacy mechanisms it is every round, and the checkpoint is made before the new shared
    parameters leave the server. A round that was released is therefore never run again: its noise
    would be the same, and if other clients failed than at first, the difference would be theirs.
    """
    config = run.transport.model.config
    every = config.results.checkpoint_every
    if every and (reason := _unsaved(run)):
        say(f"no checkpoints, a run that is stopped cannot go on: {reason}")
        return 0
    return 1 if every and config.privacy.mechanisms else every


def save_checkpoint(run: Run) -> None:
    """Write down all of a run, after a round and before its scores, and make it current.

    If a host cannot do its part, the log says so and the checkpoint before stays; with privacy
    mechanisms there is none then, until the next.
    """
    path, state = run.directory.path, run.state
    folder = next_folder(path)
    if fault := run.transport.save(folder, state.round):
        logger.warning("no checkpoint after round %d: %s", state.round, fault)
        if run.transport.model.config.privacy.mechanisms:
            forget(path)
        return
    memory = _memory(run)
    tensors = {
        **{f"shared.{name}": values for name, values in state.shared.items()},
        **{f"table.{name}": values for name, values in run.table.columns.items()},
        **{f"strategy.{k}": v.detach().cpu() for k, v in memory.items() if isinstance(v, Tensor)},
        "clients": run.table.clients,
    }
    whole = {name: values.clone().contiguous() for name, values in tensors.items()}
    write_whole(folder / SERVER, save(whole))
    content = {
        "round": state.round,
        "hosts": run.transport.hosts,
        "counted": state.counted,
        "record": run.record,
        "columns": list(run.table.columns),
        "strategy": {k: v for k, v in memory.items() if not isinstance(v, Tensor)},
        "seconds": time.monotonic() - run.started,
    }
    make_current(path, folder, content)


def go_on(run: Run) -> None:
    """Bring hosts, strategy, run and directory to where the current checkpoint was made.

    Raises:
        UserError: Something of the checkpoint is missing.
    """
    path, device = run.directory.path, run.transport.model.config.training.device
    folder, content = read_current(path)
    tensors, prefix = load_file(folder / SERVER), "strategy."
    shared = {name: tensors[f"shared.{name}"].to(device) for name in run.state.shared}
    memory: Memory = {
        **{k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)},
        **content["strategy"],
    }
    run.transport.restore(folder, content["round"], content["hosts"], memory)
    run.state = State(shared, content["round"], content["counted"])
    columns = {name: tensors[f"table.{name}"] for name in content["columns"]}
    run.table, run.record = ClientTable(tensors["clients"], columns), content["record"]
    run.started -= content["seconds"]
    run.directory.cut_rounds(run.state.round)
    (path / "summary.json").unlink(missing_ok=True)
    shutil.rmtree(path / "experts", ignore_errors=True)  # of other hosts, perhaps
    say(f"going on after round {run.state.round}")


def _unsaved(run: Run) -> str:
    """Return why a checkpoint would lose something; empty if it would not.

    A class that inherits ``state_dict`` may remember more than that knows of, so the class itself
    has to define both halves.
    """
    for part in run.transport.remembering():
        if not {"state_dict", "load_state_dict"} <= vars(type(part)).keys():
            return f"{type(part).__name__} does not define state_dict and load_state_dict"
    _memory(run)
    return ""


def _memory(run: Run) -> Memory:
    """Return what the server remembers besides the state."""
    memory = run.transport.memory()
    for name, value in memory.items():
        if not isinstance(value, int | float | Tensor):
            raise UserError(f"state_dict: {name} is {value!r}, expected a number or a tensor")
    return memory
