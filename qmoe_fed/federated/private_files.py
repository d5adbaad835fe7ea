"""What a host writes of its own clients, and reads again; none of it is ever sent."""

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from qmoe_fed.errors import UserError
from qmoe_fed.federated.host import Host, Kept
from qmoe_fed.results.checkpoint import host_file
from qmoe_fed.results.run_directory import write_whole

LOCAL, OPTIMIZER = "local.", "optimizer."


def save_experts(host: Host, kept: Kept, folder: Path) -> None:
    """Write the local parameters of the clients that live here, and whose they are."""
    if host.clients and host.model.local:
        _write(host_file(folder, host.number), kept.local, clients=torch.tensor(host.clients))


def save_kept(host: Host, kept: Kept, folder: Path, server_round: int) -> None:
    """Write all that is kept of the clients that live here, for a checkpoint."""
    tensors = {f"{LOCAL}{name}": values for name, values in kept.local.items()}
    tensors |= {f"{OPTIMIZER}{name}": values for name, values in kept.optimizer.items()}
    _write(host_file(folder, host.number), tensors, round=torch.tensor(server_round))


def restore_kept(host: Host, folder: Path, server_round: int, hosts: int) -> Kept:
    """Return what a checkpoint holds of the clients that live here now.

    Args:
        host: This host.
        folder: The checkpoint's.
        server_round: Its round.
        hosts: How many hosts wrote it; client c lived on c mod ``hosts``, in row c // hosts.

    Raises:
        UserError: A file that is needed is missing or of another round.
    """
    sources = {client % hosts for client in host.clients}
    files = {number: _read(host_file(folder, number), server_round) for number in sources}

    def row(name: str, client: int) -> Tensor:
        tensors = files[client % hosts]
        if name in tensors:
            return tensors[name][client // hosts]
        like = next(other[name][0] for other in files.values() if name in other)
        return torch.zeros_like(like)  # an optimiser that has not run yet has none

    def rows(prefix: str, names: list[str]) -> dict[str, Tensor]:
        device = host.model.config.training.device
        every = {n: torch.stack([row(prefix + n, c) for c in host.clients]) for n in names}
        return {name: values.to(device) for name, values in every.items()}

    # the columns of an optimiser's state are in the order of the parameters: keep that
    written = {name for tensors in files.values() for name in tensors}
    state = sorted(n.removeprefix(OPTIMIZER) for n in written if n.startswith(OPTIMIZER))
    return Kept(rows(LOCAL, list(host.model.local)), rows(OPTIMIZER, state))


def _write(file: Path, tensors: dict[str, Tensor], **others: Tensor) -> None:
    contiguous = {name: values.contiguous() for name, values in tensors.items()}
    write_whole(file, save({**contiguous, **others}))


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
