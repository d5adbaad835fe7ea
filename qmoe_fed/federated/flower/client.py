"""The ClientApp: translates messages for the host that this SuperNode is.

Client c lives on the SuperNode whose partition-id is c mod the number of SuperNodes. Its local
parameters stay in ``context.state`` between messages and are never sent; ``query.save`` and
``query.checkpoint`` write them to a file on the host, ``query.restore`` reads them again.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, partial
from typing import Any

import torch
from flwr.app import Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from qmoe_fed.config import Config
from qmoe_fed.data import Projection, are_apart, settle
from qmoe_fed.errors import UserError
from qmoe_fed.federated.build import make_mechanisms
from qmoe_fed.federated.flower import keeping
from qmoe_fed.federated.flower import messages as wire
from qmoe_fed.federated.flower.hiding import check_demands, hide
from qmoe_fed.federated.flower.phases import PHASE, asked_of
from qmoe_fed.federated.host import Host, Kept
from qmoe_fed.federated.mechanism import Mechanism
from qmoe_fed.federated.model import Model
from qmoe_fed.federated.sizes import check_host
from qmoe_fed.federated.updates import ClientTable
from qmoe_fed.models import Parameters
from qmoe_fed.results.checkpoint import host_file
from qmoe_fed.results.run_directory import RunDirectory, write_tensors

SETUP = "setup"
OF_NODE = ("data-dir",)  # settings that a node may have of its own

Measure = Callable[[Host, Kept, Parameters, Sequence[int], int], ClientTable]


def client_app() -> ClientApp:
    """Return the ClientApp of any run; its settings say the rest."""
    app = ClientApp()
    app.query("join")(_join)
    app.train()(_train)
    app.evaluate()(_score)
    app.query("hidden")(_answer_phase)
    app.evaluate("routing")(partial(_answer, Host.routing))
    app.evaluate("unseen")(partial(_answer, _unseen))
    app.query("save")(_save_experts)
    app.query("checkpoint")(_save_kept)
    app.query("restore")(_restore_kept)
    return app


def _join(message: Message, context: Context) -> Message:
    context.state[SETUP] = message.content[SETUP]
    host = _host(context)
    if host.total and are_apart(host.model.config):
        host.check_data()
    if (
        host.total and host.clients and not wire.settings_of(message)
    ):  # what a host had is not made up again
        keeping.keep(context, host.start())
    return _reply(message, dict(zip(wire.PLACE, (host.number, host.total), strict=True)))


def _train(message: Message, context: Context) -> Message:
    host, settings = _host(context), wire.settings_of(message)
    kept, shared = keeping.kept_of(context, host), keeping.tensors_of(wire.arrays_of(message), host)
    number, mu = int(settings[wire.ROUND]), settings.get("proximal-mu")  # of Flower's FedProx
    kept, cohort = host.train(kept, shared, settings[wire.CLIENTS], number, mu)
    keeping.keep(context, kept)
    if host.hidden:
        if asked_of(message).get("round") != number:  # else a round could be summed twice
            raise UserError(f"asked to train as in round {number}, and to be summed in another")
        return hide(message, context, host, "shares", (shared, cohort))
    examples, losses = cohort.weights.long().tolist(), cohort.losses.tolist()
    metrics = {wire.CLIENT: [*cohort.clients], wire.EXAMPLES: examples, wire.LOSS: losses}
    reply = _reply(message, metrics)
    reply.content[wire.ARRAYS] = wire.to_record(host.model.layout.parameters(cohort.updates))
    return reply


def _score(message: Message, context: Context) -> Message:
    host, clients = _host(context), wire.settings_of(message)[wire.CLIENTS]
    if not host.hidden:
        return _answer(Host.score, message, context)
    kept, shared = keeping.kept_of(context, host), keeping.tensors_of(wire.arrays_of(message), host)
    table = host.score(kept, shared, clients, _round(message))
    return hide(message, context, host, "shares", (shared, table))


def _round(message: Message) -> int:
    return int(wire.settings_of(message).get(wire.ROUND, 0))


def _answer_phase(message: Message, context: Context) -> Message:
    return hide(message, context, _host(context), wire.settings_of(message)[PHASE])


def _unseen(
    host: Host, kept: Kept, shared: Parameters, clients: Sequence[int], number: int
) -> ClientTable:
    return host.unseen(shared, clients)


def _answer(measure: Measure, message: Message, context: Context) -> Message:
    """Answer with a table of the clients that the message is about."""
    host, clients = _host(context), wire.settings_of(message)[wire.CLIENTS]
    if host.hidden and not set(clients) <= {*host.model.config.federation.unseen_clients}:
        raise UserError("the mechanisms of this run let no table of training clients leave a host")
    kept, shared = keeping.kept_of(context, host), keeping.tensors_of(wire.arrays_of(message), host)
    table = measure(host, kept, shared, clients, _round(message))
    columns = {wire.CLIENT: table.clients, **table.columns}
    return _reply(message, {name: values.tolist() for name, values in columns.items()})


def _save_experts(message: Message, context: Context) -> Message:
    """Write what belongs to the clients that live here alone, and whose it is."""
    host, settings = _host(context), wire.settings_of(message)
    folder = keeping.folder_of(context, settings["run"], settings["folder"])
    kept, shared = keeping.kept_of(context, host), keeping.tensors_of(wire.arrays_of(message), host)
    private = host.private(kept, shared) if host.clients else {}
    if host.clients and host.hidden:  # the server does not have their scores
        last = host.model.config.federation.num_server_rounds
        table = host.score(kept, shared, host.clients, last)
        columns = {wire.CLIENT: table.clients, **table.columns}
        values = {name: column.tolist() for name, column in columns.items()}
        RunDirectory(folder).write_columns(f"clients-{host.number}.json", values)
    if private:
        tensors = {**private, "clients": torch.tensor(host.clients)}
        write_tensors(host_file(folder, host.number), tensors)
    return Message(RecordDict(), reply_to=message)


def _save_kept(message: Message, context: Context) -> Message:
    keeping.save(context, _host(context), wire.settings_of(message))
    return Message(RecordDict(), reply_to=message)


def _restore_kept(message: Message, context: Context) -> Message:
    """Go on from what was written, but for a host that has been here all the time."""
    settings = wire.settings_of(message)
    if keeping.is_new(context) or not settings.get("again"):
        keeping.restore(context, _host(context), settings)
    return Message(RecordDict(), reply_to=message)


def _host(context: Context) -> Host:
    """Return the host that a SuperNode is, made once per process."""
    setup = context.state.array_records[SETUP]
    projection = Projection.from_dict({name: array.numpy() for name, array in setup.items()})
    if missing := [key for key in wire.PLACE if key not in context.node_config]:
        raise UserError(
            f"this SuperNode has no {missing[0]}; start it with "
            '--node-config "partition-id=0 num-partitions=2" (0 and 2 as the case may be)'
        )
    given = {key: context.node_config[key] for key in OF_NODE if key in context.node_config}
    settings = tuple(sorted({**context.run_config, **given}.items()))
    host = _make_host(settings, projection, *(int(context.node_config[key]) for key in wire.PLACE))
    check_demands(str(context.node_config.get("demands", "")), host.model.config.to_flat())
    return host


@lru_cache(maxsize=8)
def _make_host(
    settings: tuple[tuple[str, Any], ...], projection: Projection, number: int, total: int
) -> Host:
    config = settle(Config.from_flat(dict(settings)))
    check_host(config, len(range(number, config.federation.num_clients, total or 1)))
    return Host(*_make_model(settings), projection, number, total)


@lru_cache(maxsize=8)
def _make_model(settings: tuple[tuple[str, Any], ...]) -> tuple[Model, tuple[Mechanism, ...]]:
    config = settle(Config.from_flat(dict(settings)))
    return Model(config), make_mechanisms(config)


def _reply(message: Message, metrics: Mapping[str, Any]) -> Message:
    return Message(RecordDict({wire.METRICS: MetricRecord(dict(metrics))}), reply_to=message)
