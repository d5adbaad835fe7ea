"""Checkpoints of a run: when they are due, how they are made, and how a run goes on from one.

Every host writes what is private to its clients; the server writes the rest. A strategy or a
mechanism that remembers something must be able to say what (``state_dict``), or there are no
checkpoints: a run that went on without it would be another run, and its privacy a false promise.
"""

import shutil
import time

from flwr.serverapp import strategy as flower
from flwr.serverapp.strategy import Strategy
from flwr.supercore import log
from safetensors.torch import load_file, save
from torch import Tensor

from qmoe_fed.errors import UserError
from qmoe_fed.federated.collect import WARNING, ClientTable
from qmoe_fed.federated.records import ROUND, to_record, to_tensors
from qmoe_fed.federated.state import Federation, RunState
from qmoe_fed.results.checkpoint import SERVER, forget, make_current, next_folder, read_current
from qmoe_fed.results.progress import say
from qmoe_fed.results.run_directory import write_whole

STATELESS = (
    flower.Bulyan,
    flower.FedAvg,
    flower.FedMedian,
    flower.FedProx,
    flower.FedTrimmedAvg,
    flower.Krum,
    flower.MultiKrum,
    flower.QFedAvg,
)
"""Flower's strategies that remember nothing from one round to the next."""


def interval(federation: Federation, strategy: Strategy) -> int:
    """Return after how many rounds a checkpoint is due; 0: never.

    With privacy mechanisms it is every round, and the checkpoint is made before the new shared
    parameters leave the server. A round that was released is therefore never run again: its noise
    would be the same, and if other clients failed than at first, the difference would be theirs.
    """
    every = federation.config.results.checkpoint_every
    if every and (reason := _unsaved(strategy)):
        say(f"no checkpoints, a run that is stopped cannot go on: {reason}")
        return 0
    return 1 if every and federation.config.privacy.mechanisms else every


def save_checkpoint(federation: Federation, strategy: Strategy, state: RunState) -> None:
    """Write down all of a run, after a round and before its scores, and make it current.

    If a host cannot do its part, the log says so and the checkpoint before stays; with privacy
    mechanisms there is none then, until the next.
    """
    run = federation.directory.path
    folder = next_folder(run)
    if fault := federation.tell("query.checkpoint", {"folder": str(folder), ROUND: state.rounds}):
        log(WARNING, "no checkpoint after round %d: %s", state.rounds, fault)
        if federation.config.privacy.mechanisms:
            forget(run)
        return
    kept = _state_of(strategy)
    tensors = {
        **{f"shared.{name}": values for name, values in to_tensors(state.arrays).items()},
        **{f"table.{name}": values for name, values in state.table.columns.items()},
        **{f"strategy.{k}": v.detach().cpu() for k, v in kept.items() if isinstance(v, Tensor)},
        "clients": state.table.clients,
    }
    whole = {name: values.clone().contiguous() for name, values in tensors.items()}
    write_whole(folder / SERVER, save(whole))
    content = {
        "round": state.rounds,
        "hosts": len(federation.hosts.nodes),
        "counted": state.counted,
        "record": state.record,
        "columns": list(state.table.columns),
        "strategy": {k: v for k, v in kept.items() if not isinstance(v, Tensor)},
        "seconds": time.monotonic() - state.started,
    }
    make_current(run, folder, content)


def go_on(federation: Federation, strategy: Strategy, state: RunState) -> None:
    """Bring hosts, strategy, state and directory to where the current checkpoint was made.

    Raises:
        UserError: Something of the checkpoint is missing.
    """
    run = federation.directory.path
    folder, content = read_current(run)
    where = {"folder": str(folder), ROUND: content["round"], "hosts": content["hosts"]}
    if fault := federation.tell("query.restore", where):
        raise UserError(f"cannot go on after round {content['round']}: {fault}")
    tensors = load_file(folder / SERVER)
    state.arrays = to_record({name: tensors[f"shared.{name}"] for name in state.arrays})
    state.table = ClientTable(
        tensors["clients"], {name: tensors[f"table.{name}"] for name in content["columns"]}
    )
    state.rounds, state.counted = content["round"], content["counted"]
    state.record = content["record"]
    state.started -= content["seconds"]
    if type(strategy) not in STATELESS:
        prefix = "strategy."
        saved = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
        strategy.load_state_dict({**saved, **content["strategy"]})  # type: ignore[attr-defined]
    federation.directory.cut_rounds(state.rounds)
    (run / "summary.json").unlink(missing_ok=True)
    shutil.rmtree(run / "experts", ignore_errors=True)  # of other hosts, perhaps
    say(f"going on after round {state.rounds}")


def _unsaved(strategy: Strategy) -> str:
    """Return why a checkpoint would lose something of a strategy; empty if it would not.

    A class that inherits ``state_dict`` may remember more than that knows of, so the class itself
    has to define both halves.
    """
    working = [m for m in getattr(strategy, "mechanisms", ()) if m.runs_on_server]
    if type(strategy) in STATELESS:
        return ""
    for part in (strategy, *working):
        if not {"state_dict", "load_state_dict"} <= vars(type(part)).keys():
            return f"{type(part).__name__} does not define state_dict and load_state_dict"
    _state_of(strategy)
    return ""


def _state_of(strategy: Strategy) -> dict[str, int | float | Tensor]:
    if type(strategy) in STATELESS:
        return {}
    state: dict[str, int | float | Tensor] = strategy.state_dict()  # type: ignore[attr-defined]
    for name, value in state.items():
        if not isinstance(value, int | float | Tensor):
            raise UserError(f"state_dict: {name} is {value!r}, expected a number or a tensor")
    return state
