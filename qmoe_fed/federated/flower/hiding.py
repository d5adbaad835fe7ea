"""A SuperNode's part in a hidden sum: it keeps its secrets in ``context.state``, never in a file.

What must not be forgotten, and is no secret, it writes beside the checkpoint that one could go on
from, before any answer leaves.
"""

from collections.abc import Mapping
from pathlib import Path

from flwr.app import ConfigRecord, Context, Message

from qmoe_fed.config.settings import read_toml
from qmoe_fed.errors import UserError
from qmoe_fed.federated.flower.phases import asked_of, reply_hidden
from qmoe_fed.federated.hidden import HiddenSum, Wire
from qmoe_fed.federated.host import Host
from qmoe_fed.federated.updates import ClientTable, Cohort
from qmoe_fed.models import Parameters
from qmoe_fed.results.run_directory import read_tensors, write_tensors

VAULT, ANSWERED = "vault", "answered"


def hide(
    message: Message,
    context: Context,
    host: Host,
    phase: str,
    hidden: tuple[Parameters, Cohort | ClientTable] | None = None,
) -> Message:
    """Return the reply in a phase; arguments and errors as ``HiddenSum.answer``.

    Raises:
        UserError: This host's settings name no mechanism that hides rows.
    """
    if not host.hidden:
        raise UserError(f"{phase}: the settings of this host name no mechanism that hides rows")
    before = _vault(context)
    answer, vault = host.hidden.answer(before, phase, asked_of(message), host.clients, hidden)
    context.state[VAULT] = ConfigRecord({**vault})
    if not host.hidden.memory(before).equal(host.hidden.memory(vault)):
        _write_memory(context, host, host.hidden)
    return reply_hidden(message, answer)


def write_memory(context: Context, host: Host, folder: Path) -> None:
    """Write what was answered into the folder of a checkpoint, from now on before every answer."""
    if host.hidden:
        context.state[ANSWERED] = ConfigRecord({"folder": str(folder)})
        _write_memory(context, host, host.hidden)


def read_memory(context: Context, host: Host, sources: Mapping[int, Path], own: Path) -> None:
    """Remember what hosts had answered on which the clients lived; UserError if it is lost.

    Each wrote it into its folder among ``sources``; from now on it is written into ``own``.
    """
    if host.hidden:
        vault = _vault(context)
        for source, folder in sources.items():
            memory = read_tensors(_file(folder, source))["memory"]
            vault = host.hidden.remembering(vault, memory)
        context.state[VAULT] = ConfigRecord({**vault})
        write_memory(context, host, own)


def check_demands(file: str, settings: Mapping[str, object]) -> None:
    """Refuse a run without the settings in a host's own file: all others the server chooses.

    Raises:
        UserError: One differs, or the file cannot be read.
    """
    for name, value in (read_toml(file) if file else {}).items():
        if settings.get(name) != value:
            raise UserError(
                f"this host takes part in runs with {name} = {value!r} only ({file}); this one has "
                f"{settings.get(name)!r}"
            )


def _vault(context: Context) -> Wire:
    own: Wire = {"identities": str(context.node_config.get("identities", "")).encode()}
    record = context.state.config_records.get(VAULT, ConfigRecord())
    return {k: v for k, v in record.items() if isinstance(v, int | bytes)} | own


def _write_memory(context: Context, host: Host, hidden: HiddenSum) -> None:
    if ANSWERED in context.state:
        folder = Path(str(context.state.config_records[ANSWERED]["folder"]))
        write_tensors(_file(folder, host.number), {"memory": hidden.memory(_vault(context))})


def _file(folder: Path, host: int) -> Path:
    return folder / f"answered-{host}.safetensors"
