"""What a host writes of its own clients, and reads again; none of it is ever sent."""

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from qmoe_fed.errors import UserError
from qmoe_fed.federated.supernode import LOCAL, OPTIMIZER, SuperNode
from qmoe_fed.results.checkpoint import host_file
from qmoe_fed.results.run_directory import write_whole


def save_experts(node: SuperNode, folder: Path) -> None:
    """Write the local parameters of the clients that live here, and whose they are."""
    if node.clients and node.model.local:
        _write(host_file(folder, node.partition), node.local, clients=torch.tensor(node.clients))


def save_private(node: SuperNode, folder: Path, server_round: int) -> None:
    """Write all that is kept of the clients that live here, for a checkpoint."""
    state = node.optimizer_state(slice(None)) or {}
    kept = {f"{LOCAL}.{name}": values for name, values in node.local.items()}
    kept |= {f"{OPTIMIZER}.{name}": values for name, values in state.items()}
    _write(host_file(folder, node.partition), kept, round=torch.tensor(server_round))


def restore_private(node: SuperNode, folder: Path, server_round: int, hosts: int) -> None:
    """Take over what a checkpoint holds of the clients that live here now.

    Args:
        node: This SuperNode.
        folder: The checkpoint's.
        server_round: Its round.
        hosts: How many SuperNodes wrote it; client c lived on c mod ``hosts``, in row c // hosts.

    Raises:
        UserError: A file that is needed is missing or of another round.
    """
    if not node.clients:
        return
    sources = {client % hosts for client in node.clients}
    files = {host: _read(host_file(folder, host), server_round) for host in sources}

    def row(name: str, client: int) -> Tensor:
        tensors = files[client % hosts]
        if name in tensors:
            return tensors[name][client // hosts]
        like = next(other[name][0] for other in files.values() if name in other)
        return torch.zeros_like(like)  # an optimiser that has not run yet has none

    # the columns of an optimiser's state are in the order of the parameters: keep that
    local = [f"{LOCAL}.{name}" for name in node.model.local]
    others = sorted({name for tensors in files.values() for name in tensors} - {*local})
    for record, names in ((LOCAL, local), (OPTIMIZER, others)):
        rows = {
            name.removeprefix(f"{record}."): torch.stack([row(name, c) for c in node.clients])
            for name in names
        }
        if rows:
            node.keep(record, slice(None), rows)


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
