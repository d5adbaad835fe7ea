"""What a host writes of its own clients, and reads again; none of it is ever sent."""

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from qmoe_fed.errors import UserError
from qmoe_fed.federated.host import Host, Kept
from qmoe_fed.federated.mechanism import group_of, grouped
from qmoe_fed.results.checkpoint import host_file
from qmoe_fed.results.run_directory import write_tensors


def save_experts(host: Host, kept: Kept, folder: Path) -> None:
    """Write the local parameters of the clients that live here, and whose they are."""
    if host.clients and host.model.local:
        tensors = {**kept.local, "clients": torch.tensor(host.clients)}
        write_tensors(host_file(folder, host.number), tensors)


def save_kept(host: Host, kept: Kept, folder: Path, server_round: int) -> None:
    """Write all that is kept of the clients that live here, for a checkpoint."""
    tensors = {**grouped(vars(kept)), "round": torch.tensor(server_round)}
    write_tensors(host_file(folder, host.number), tensors)


def restore_kept(host: Host, folder: Path, server_round: int, hosts: int) -> Kept:
    """Return what a checkpoint holds of the clients that live here now.

    So many hosts wrote it: client c lived on c mod ``hosts``, in row c // hosts.

    Raises:
        UserError: A file that is needed is missing or of another round.
    """
    sources = {client % hosts for client in host.clients}
    files = {number: _read(host_file(folder, number), server_round) for number in sources}
    written = {name: values[0] for tensors in files.values() for name, values in tensors.items()}

    def row(name: str, client: int) -> Tensor:
        tensors = files[client % hosts]
        if name in tensors:
            return tensors[name][client // hosts]
        return torch.zeros_like(written[name])  # an optimiser that has not run yet has none

    device = host.model.config.training.device
    every = {n: torch.stack([row(n, c) for c in host.clients]).to(device) for n in sorted(written)}
    # the columns of an optimiser's state are in the order of the parameters: keep that
    local = group_of(every, "local")
    return Kept({name: local[name] for name in host.model.local}, group_of(every, "optimizer"))


def _read(file: Path, server_round: int) -> dict[str, Tensor]:
    try:
        tensors: dict[str, Tensor] = load_file(file)
    except (OSError, SafetensorError) as error:
        raise UserError(
            f"cannot read {file}: {error}; a host goes on from what the hosts of its clients "
            "wrote: copy these files to it if they were on other machines"
        ) from error
    if (written := int(tensors.pop("round"))) != server_round:
        raise UserError(f"{file} is of round {written}, but the checkpoint of round {server_round}")
    return tensors
