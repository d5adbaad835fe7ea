"""The ClientApp: translates messages for the host that this SuperNode is.

Client c lives on the SuperNode whose partition-id is c mod the number of SuperNodes. Its local
parameters stay in ``context.state`` between messages and are never sent; ``query.save`` and
``query.checkpoint`` write them to a file on the host, ``query.restore`` reads them again.
"""

from functools import lru_cache
from pathlib import Path
from typing import Any

from flwr.app import Context, Message, RecordDict
from flwr.clientapp import ClientApp

from qmoe_fed.config import Config
from qmoe_fed.data import Projection
from qmoe_fed.errors import UserError
from qmoe_fed.federated.build import make_mechanisms
from qmoe_fed.federated.flower.messages import (
    ROUND,
    arrays_of,
    clients_of,
    metrics_reply,
    settings_of,
    table_reply,
    to_record,
    to_tensors,
    update_reply,
)
from qmoe_fed.federated.host import Host, Kept
from qmoe_fed.federated.mechanism import Mechanism
from qmoe_fed.federated.model import Model
from qmoe_fed.federated.private_files import restore_kept, save_experts, save_kept
from qmoe_fed.models import Parameters

LOCAL, OPTIMIZER, SETUP = "local", "optimizer", "setup"


def client_app() -> ClientApp:
    """Return the ClientApp of any run; its settings say the rest."""
    app = ClientApp()

    @app.query("join")
    def join(message: Message, context: Context) -> Message:
        context.state[SETUP] = message.content[SETUP]
        host = _host(context)
        return metrics_reply(message, {"partition-id": host.number, "num-partitions": host.total})

    @app.train()
    def train(message: Message, context: Context) -> Message:
        host, settings = _host(context), settings_of(message)
        mu = settings.get("proximal-mu")  # of Flower's FedProx
        kept, cohort = host.train(
            _kept(context, host),
            _shared(message, host),
            clients_of(message),
            int(settings[ROUND]),
            None if mu is None else float(mu),
        )
        _keep(context, kept)
        return update_reply(message, cohort, host.model.layout)

    @app.evaluate()
    def evaluate(message: Message, context: Context) -> Message:
        host = _host(context)
        table = host.score(_kept(context, host), _shared(message, host), clients_of(message))
        return table_reply(message, table)

    @app.evaluate("routing")
    def routing(message: Message, context: Context) -> Message:
        host = _host(context)
        table = host.routing(_kept(context, host), _shared(message, host), clients_of(message))
        return table_reply(message, table)

    @app.evaluate("unseen")
    def unseen(message: Message, context: Context) -> Message:
        host = _host(context)
        return table_reply(message, host.unseen(_shared(message, host), clients_of(message)))

    @app.query("save")
    def experts(message: Message, context: Context) -> Message:
        host = _host(context)
        save_experts(host, _kept(context, host), Path(settings_of(message)["folder"]))
        return Message(RecordDict(), reply_to=message)

    @app.query("checkpoint")
    def checkpoint(message: Message, context: Context) -> Message:
        host, settings = _host(context), settings_of(message)
        save_kept(host, _kept(context, host), Path(settings["folder"]), settings[ROUND])
        return Message(RecordDict(), reply_to=message)

    @app.query("restore")
    def restore(message: Message, context: Context) -> Message:
        host, settings = _host(context), settings_of(message)
        folder = Path(settings["folder"])
        if host.clients:
            _keep(context, restore_kept(host, folder, settings[ROUND], settings["hosts"]))
        return Message(RecordDict(), reply_to=message)

    return app


def _host(context: Context) -> Host:
    """Return the host that a SuperNode is, made once per process."""
    setup = context.state.array_records[SETUP]
    projection = Projection.from_dict({name: array.numpy() for name, array in setup.items()})
    settings = tuple(sorted(context.run_config.items()))
    return _make_host(settings, projection, *(_place(context, k) for k in PLACE))


PLACE = ("partition-id", "num-partitions")


def _place(context: Context, key: str) -> int:
    if key not in context.node_config:
        raise UserError(
            f"this SuperNode has no {key}; start it with "
            '--node-config "partition-id=0 num-partitions=2" (0 and 2 as the case may be)'
        )
    return int(context.node_config[key])


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
    return _tensors(arrays_of(message), host)


def _kept(context: Context, host: Host) -> Kept:
    """Return what this SuperNode keeps of its clients."""
    records = context.state.array_records
    if LOCAL not in records:
        return host.start()
    optimizer = _tensors(records[OPTIMIZER], host) if OPTIMIZER in records else {}
    return Kept(_tensors(records[LOCAL], host), optimizer)


def _keep(context: Context, kept: Kept) -> None:
    context.state[LOCAL] = to_record(kept.local)
    if kept.optimizer:
        context.state[OPTIMIZER] = to_record(kept.optimizer)


def _tensors(record: Any, host: Host) -> Parameters:
    """Return the arrays of a record as tensors on the device of the run."""
    device = host.model.config.training.device
    return {name: values.to(device) for name, values in to_tensors(record).items()}
