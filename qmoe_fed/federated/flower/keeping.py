"""What a SuperNode keeps of its clients: in ``context.state``, and in its part of a checkpoint.

A host that is started anew goes on from what it wrote last, be it of an earlier round than the
checkpoint: to its clients that is as if they had not been asked since.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from flwr.app import ArrayRecord, Context
from torch import Tensor

from qmoe_fed.errors import UserError
from qmoe_fed.federated.flower import messages as wire
from qmoe_fed.federated.flower.hiding import read_memory, write_memory
from qmoe_fed.federated.host import Host, Kept
from qmoe_fed.federated.mechanism import group_of, grouped
from qmoe_fed.models import Parameters
from qmoe_fed.results.checkpoint import host_file
from qmoe_fed.results.forms import check_tensors
from qmoe_fed.results.run_directory import read_tensors, write_tensors

KEPT = "kept"


def is_new(context: Context) -> bool:
    """Return whether this SuperNode keeps nothing yet, or no more."""
    return KEPT not in context.state.array_records


def kept_of(context: Context, host: Host) -> Kept:
    """Return what this SuperNode keeps of its clients; UserError if it is lost."""
    if is_new(context):
        if host.clients and host.keeps:
            raise UserError("this host was started anew: what it kept of its clients is lost")
        return host.start()
    kept = tensors_of(context.state.array_records[KEPT], host)
    return Kept(group_of(kept, "local"), group_of(kept, "optimizer"))


def keep(context: Context, kept: Kept) -> None:
    """Have this SuperNode keep something of its clients."""
    context.state[KEPT] = wire.to_record(grouped(vars(kept)))


def save(context: Context, host: Host, settings: Mapping[str, Any]) -> None:
    """Write all that is kept of the clients that live here, for a checkpoint."""
    kept, number = grouped(vars(kept_of(context, host))), torch.tensor(settings[wire.ROUND])
    folder = folder_of(context, settings["run"], settings["folder"])
    write_tensors(host_file(folder, host.number), {**kept, "round": number})
    write_memory(context, host, folder)


def restore(context: Context, host: Host, settings: Mapping[str, Any]) -> None:
    """Read what hosts wrote last of the clients that live here now.

    There were as many hosts as ``folders``, and ``rounds``, 0 where a host wrote nothing: client c
    lived on c mod that number of hosts, in row c // that number.
    """
    folders = [folder_of(context, settings["run"], name) for name in settings["folders"]]
    rounds, hosts = settings["rounds"], len(folders)
    sources = {client % hosts for client in host.clients}
    if lost := sorted(source for source in sources if not rounds[source]):
        if host.keeps or host.hidden:
            told = "came to no checkpoint, and what it kept of its clients is lost"
            raise UserError(f"host {lost[0]} {told}; only a new run has them all")
        sources -= {*lost}
    files = {i: _read(host_file(folders[i], i), rounds[i]) for i in sources}
    fresh = host.model.initial(host.model.local, range(1))
    due = grouped({"local": {name: values[0] for name, values in fresh.items()}})
    state = grouped({"optimizer": host.fresh_state()})
    for source, tensors in files.items():
        rows = len(range(source, host.model.config.federation.num_clients, hosts))
        trained = group_of(tensors, "optimizer")  # there is none before a first round
        check_tensors(
            host_file(folders[source], source), tensors, due | state if trained else due, (rows,)
        )
    own = folders[host.number % hosts]
    read_memory(context, host, {i: folders[i] for i in sources}, own)
    like = {name: values[0] for tensors in files.values() for name, values in tensors.items()}

    def row(name: str, client: int) -> Tensor:
        tensors = files[client % hosts]
        if name in tensors:
            return tensors[name][client // hosts]
        return torch.zeros_like(like[name])  # an optimiser that has not run yet has none

    if host.clients:
        every = {name: torch.stack([row(name, c) for c in host.clients]) for name in sorted(like)}
        # the columns of an optimiser's state are in the order of the parameters: keep that
        local = group_of(every, "local")
        ordered = {name: local[name] for name in host.model.local}
        keep(context, Kept(ordered, group_of(every, "optimizer")))


def folder_of(context: Context, run: str, folder: str) -> Path:
    """Return where to write: below the path of the run, or below this node's own ``output-dir``."""
    own, path = context.node_config.get("output-dir"), Path(run)
    return (Path(str(own)).expanduser() / path.name if own else path) / folder


def _read(file: Path, server_round: int) -> dict[str, Tensor]:
    hint = "a host goes on from what the hosts of its clients wrote: copy these files to it"
    tensors = read_tensors(file, f"; {hint} if they were on other machines")
    check_tensors(file, tensors, {"round": torch.tensor(0)})
    if (written := int(tensors.pop("round"))) != server_round:
        raise UserError(f"{file} is of round {written}, but the checkpoint of round {server_round}")
    return tensors


def tensors_of(record: ArrayRecord, host: Host) -> Parameters:
    """Return the arrays of a record as tensors on the device of the run."""
    device = host.model.config.training.device
    return {name: values.to(device) for name, values in wire.to_tensors(record).items()}
