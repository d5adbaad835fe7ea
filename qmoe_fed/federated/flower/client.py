"""The ClientApp: translates messages for the host that this SuperNode is.

Client c lives on the SuperNode whose partition-id is c mod the number of SuperNodes. Its local
parameters stay in ``context.state`` between messages and are never sent; ``query.save`` and
``query.checkpoint`` write them to a file on the host, ``query.restore`` reads them again.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from flwr.app import ArrayRecord, Context, Message, RecordDict
from flwr.clientapp import ClientApp

from qmoe_fed.config import Config
from qmoe_fed.data import Projection
from qmoe_fed.errors import UserError
from qmoe_fed.federated.build import make_mechanisms
from qmoe_fed.federated.flower import messages
from qmoe_fed.federated.flower.messages import PLACE, ROUND, clients_of, settings_of
from qmoe_fed.federated.host import Host, Kept
from qmoe_fed.federated.mechanism import Mechanism, group_of, grouped
from qmoe_fed.federated.model import Model
from qmoe_fed.federated.private_files import restore_kept, save_experts, save_kept
from qmoe_fed.federated.updates import ClientTable
from qmoe_fed.models import Parameters

KEPT, SETUP = "kept", "setup"


def client_app() -> ClientApp:
    """Return the ClientApp of any run; its settings say the rest."""
    app = ClientApp()

    @app.query("join")
    def join(message: Message, context: Context) -> Message:
        context.state[SETUP] = message.content[SETUP]
        host = _host(context)
        place = dict(zip(PLACE, (host.number, host.total), strict=True))
        return messages.metrics_reply(message, place)

    @app.train()
    def train(message: Message, context: Context) -> Message:
        host, settings = _host(context), settings_of(message)
        kept, shared, clients = _kept(context, host), _shared(message, host), clients_of(message)
        mu = settings.get("proximal-mu")  # of Flower's FedProx
        kept, cohort = host.train(kept, shared, clients, int(settings[ROUND]), mu)
        _keep(context, kept)
        return messages.update_reply(message, cohort, host.model.layout)

    @app.query("checkpoint")
    def checkpoint(message: Message, context: Context) -> Message:
        host, folder, settings = _told(message, context)
        save_kept(host, _kept(context, host), folder, settings[ROUND])
        return Message(RecordDict(), reply_to=message)

    @app.query("restore")
    def restore(message: Message, context: Context) -> Message:
        host, folder, settings = _told(message, context)
        if host.clients:
            _keep(context, restore_kept(host, folder, settings[ROUND], settings["hosts"]))
        return Message(RecordDict(), reply_to=message)

    @app.query("save")
    def save(message: Message, context: Context) -> Message:
        host, folder, _ = _told(message, context)
        save_experts(host, _kept(context, host), folder)
        return Message(RecordDict(), reply_to=message)

    def unseen(host: Host, kept: Kept, shared: Parameters, clients: Sequence[int]) -> ClientTable:
        return host.unseen(shared, clients)

    app.evaluate()(_answering(Host.score))
    app.evaluate("routing")(_answering(Host.routing))
    app.evaluate("unseen")(_answering(unseen))
    return app


def _answering(
    measure: Callable[[Host, Kept, Parameters, Sequence[int]], ClientTable],
) -> Callable[[Message, Context], Message]:
    """Return what answers a message with a table of the clients it is about."""

    def answer(message: Message, context: Context) -> Message:
        host = _host(context)
        kept, shared = _kept(context, host), _shared(message, host)
        return messages.table_reply(message, measure(host, kept, shared, clients_of(message)))

    return answer


def _told(message: Message, context: Context) -> tuple[Host, Path, dict[str, Any]]:
    """Return the host, the folder it is told of, and what else it is told."""
    settings = settings_of(message)
    return _host(context), Path(settings["folder"]), settings


def _host(context: Context) -> Host:
    """Return the host that a SuperNode is, made once per process."""
    setup = context.state.array_records[SETUP]
    projection = Projection.from_dict({name: array.numpy() for name, array in setup.items()})
    if missing := [key for key in PLACE if key not in context.node_config]:
        raise UserError(
            f"this SuperNode has no {missing[0]}; start it with "
            '--node-config "partition-id=0 num-partitions=2" (0 and 2 as the case may be)'
        )
    settings = tuple(sorted(context.run_config.items()))
    return _make_host(settings, projection, *(int(context.node_config[key]) for key in PLACE))


@lru_cache(maxsize=8)
def _make_host(
    settings: tuple[tuple[str, Any], ...], projection: Projection, number: int, total: int
) -> Host:
    return Host(*_make_model(settings), projection, number, total)


@lru_cache(maxsize=8)
def _make_model(settings: tuple[tuple[str, Any], ...]) -> tuple[Model, tuple[Mechanism, ...]]:
    config = Config.from_flat(dict(settings))
    return Model(config), make_mechanisms(config)


def _shared(message: Message, host: Host) -> Parameters:
    return _tensors(messages.arrays_of(message), host)


def _kept(context: Context, host: Host) -> Kept:
    """Return what this SuperNode keeps of its clients."""
    records = context.state.array_records
    if KEPT not in records:
        return host.start()
    kept = _tensors(records[KEPT], host)
    return Kept(group_of(kept, "local"), group_of(kept, "optimizer"))


def _keep(context: Context, kept: Kept) -> None:
    context.state[KEPT] = messages.to_record(grouped(vars(kept)))


def _tensors(record: ArrayRecord, host: Host) -> Parameters:
    """Return the arrays of a record as tensors on the device of the run."""
    device = host.model.config.training.device
    return {name: values.to(device) for name, values in messages.to_tensors(record).items()}
