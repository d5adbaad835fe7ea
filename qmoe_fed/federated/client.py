"""The ClientApp: one SuperNode trains, scores and keeps all the clients it hosts.

Client c lives on the SuperNode whose partition-id is c mod the number of SuperNodes. Its local
parameters stay in ``context.state`` between messages and are never sent; ``query.save`` writes
them to a file on the host.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import torch
from flwr.app import Array, ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from safetensors.torch import save_file
from torch import Tensor

from qmoe_fed.config import Config
from qmoe_fed.data import ClientData, Projection, load_clients
from qmoe_fed.errors import UserError
from qmoe_fed.federated.host import Model, score_clients, train_clients
from qmoe_fed.federated.records import (
    ARRAYS,
    CLIENT,
    CLIENTS,
    CONFIG,
    EXAMPLES,
    LOSS,
    METRICS,
    ROUND,
    to_tensors,
    update_reply,
)
from qmoe_fed.federated.unseen import fit_unseen
from qmoe_fed.learning import Scores
from qmoe_fed.learning.replicas import ravel, rows_of, unravel
from qmoe_fed.models import Parameters

LOCAL, OPTIMIZER, SETUP = "local", "optimizer", "setup"

MakeMechanisms = Callable[[Config], Sequence[Any]]


def client_app(make_mechanisms: MakeMechanisms) -> ClientApp:
    """Return the ClientApp.

    Args:
        make_mechanisms: Gives the privacy mechanisms of a run; the client half of each runs here,
            on every client's update before it leaves.
    """
    app = ClientApp()

    @app.query("join")
    def join(message: Message, context: Context) -> Message:
        context.state[SETUP] = message.content[SETUP]
        host = Host(context)
        place = {"partition-id": host.partition, "num-partitions": host.partitions}
        return Message(RecordDict({METRICS: MetricRecord(place)}), reply_to=message)

    @app.train()
    def train(message: Message, context: Context) -> Message:
        return train_reply(message, Host(context), make_mechanisms)

    @app.evaluate()
    def evaluate(message: Message, context: Context) -> Message:
        clients, scores, load, entropy = score(message, Host(context))
        metrics = {
            CLIENT: clients,
            "accuracy": scores.accuracy.tolist(),
            "loss": scores.loss.tolist(),
            "routing-entropy": entropy.tolist(),
            **{f"load-{i}": column.tolist() for i, column in enumerate(load.sum(-1).T)},
        }
        return Message(RecordDict({METRICS: MetricRecord(metrics)}), reply_to=message)

    @app.evaluate("routing")
    def routing(message: Message, context: Context) -> Message:
        clients, _, load, _ = score(message, Host(context))
        cells = load.flatten(1).T.tolist()  # expert by expert, the classes of each side by side
        metrics = {CLIENT: clients, **{f"cell-{i}": values for i, values in enumerate(cells)}}
        return Message(RecordDict({METRICS: MetricRecord(metrics)}), reply_to=message)

    @app.evaluate("unseen")
    def unseen(message: Message, context: Context) -> Message:
        host = Host(context)
        clients = message.content[CONFIG][CLIENTS]
        shared = host.tensors(message.content[ARRAYS])
        scores = fit_unseen(host.model, host.data(clients), shared, clients)
        metrics = {
            f"{kind}-{size}": accuracy.tolist()
            for kind, by_size in vars(scores).items()
            for size, accuracy in by_size.items()
        }
        content = {METRICS: MetricRecord({CLIENT: clients, **metrics})}
        return Message(RecordDict(content), reply_to=message)

    @app.query("save")
    def save(message: Message, context: Context) -> Message:
        host = Host(context)
        folder = Path(str(message.content[CONFIG]["folder"]))
        if host.clients and host.model.local:
            folder.mkdir(parents=True, exist_ok=True)
            tensors = {name: values.contiguous() for name, values in host.local.items()}
            tensors["clients"] = torch.tensor(host.clients)
            save_file(tensors, folder / f"host-{host.partition}.safetensors")
        return Message(RecordDict(), reply_to=message)

    return app


@dataclass(frozen=True)
class Host:
    """The view of a handler on its SuperNode: the clients hosted here and what is kept of them.

    Attributes:
        context: Flower's context of this SuperNode in this run.
    """

    context: Context

    @cached_property
    def config(self) -> Config:
        """The settings of the run."""
        return Config.from_flat(self.context.run_config)

    @property
    def partition(self) -> int:
        """Number of this SuperNode, 0 … partitions - 1."""
        return int(self._place("partition-id"))

    @property
    def partitions(self) -> int:
        """Number of SuperNodes in the federation."""
        return int(self._place("num-partitions"))

    def _place(self, key: str) -> Any:
        if key not in self.context.node_config:
            raise UserError(
                f"this SuperNode has no {key}; start it with "
                '--node-config "partition-id=0 num-partitions=2" (0 and 2 as the case may be)'
            )
        return self.context.node_config[key]

    @property
    def clients(self) -> range:
        """Ids of the training clients that live here, ascending."""
        return range(self.partition, self.config.federation.num_clients, self.partitions)

    @property
    def model(self) -> Model:
        """The model of the run."""
        return _model(self.config)

    def rows(self, clients: Sequence[int]) -> Tensor | slice:
        """Return the rows of clients among those that live here."""
        if len(clients) == len(self.clients):
            return slice(None)
        return (torch.tensor(clients) - self.partition) // self.partitions

    def data(self, clients: Sequence[int]) -> ClientData:
        """Return the samples of clients that live here."""
        setup = self.context.state[SETUP]
        projection = Projection.from_dict({name: a.numpy() for name, a in setup.items()})
        if clients[0] in self.clients:
            return _data(self.config, self.clients, projection).select(self.rows(clients))
        return _data(self.config, tuple(clients), projection)

    @property
    def local(self) -> Parameters:
        """Parameters that stay here, one row per hosted client."""
        if LOCAL not in self.context.state:
            return self.model.initial(self.model.local, self.clients)
        return self.tensors(self.context.state[LOCAL])

    def keep(self, record: str, rows: Tensor | slice, values: Parameters) -> None:
        """Store new rows of a stacked record for the next message."""
        if not isinstance(rows, slice):
            old = self.local if record == LOCAL else self.optimizer_state(values)
            values = {
                name: old[name].index_copy(0, rows.to(new.device), new)
                for name, new in values.items()
            }
        arrays = {name: Array(v.cpu().numpy()) for name, v in values.items()}
        self.context.state[record] = ArrayRecord(arrays)

    def optimizer_state(self, like: Parameters) -> Parameters:
        """Return the stored optimiser state of all hosted clients, zero where there is none."""
        if OPTIMIZER in self.context.state:
            return self.tensors(self.context.state[OPTIMIZER])
        return {
            name: values.new_zeros(len(self.clients), *values.shape[1:])
            for name, values in like.items()
        }

    def tensors(self, record: ArrayRecord) -> Parameters:
        """Return the arrays of a record as tensors on the device of the run."""
        device = self.config.training.device
        return {name: values.to(device) for name, values in to_tensors(record).items()}


def score(message: Message, host: Host) -> tuple[list[int], Scores, Tensor, Tensor]:
    """Return the clients a message names and what ``score_clients`` says of them."""
    clients = list(message.content[CONFIG][CLIENTS])
    local = rows_of(host.local, host.rows(clients))
    shared = host.tensors(message.content[ARRAYS])
    return clients, *score_clients(host.model, host.data(clients), shared, local)


def train_reply(message: Message, host: Host, make_mechanisms: MakeMechanisms) -> Message:
    """Train the clients a message names, keep what is local, and reply with their updates."""
    config, model = host.config, host.model
    order = message.content[CONFIG]
    clients, server_round = list(order[CLIENTS]), int(order[ROUND])
    rows = host.rows(clients)
    keep_state = config.training.keep_optimizer_state
    state = None
    if keep_state and OPTIMIZER in host.context.state:
        state = rows_of(host.tensors(host.context.state[OPTIMIZER]), rows)
    update = train_clients(
        model,
        host.data(clients),
        host.tensors(message.content[ARRAYS]),
        rows_of(host.local, rows),
        clients,
        server_round,
        state,
        proximal_mu=order.get("proximal-mu", config.training.proximal_mu),  # Flower's FedProx
    )
    host.keep(LOCAL, rows, update.local)
    if keep_state:
        host.keep(OPTIMIZER, rows, update.state)

    updates = update.updates
    for mechanism in make_mechanisms(config):
        matrix = ravel(updates, len(clients)).double()
        changed = mechanism.on_client(matrix, clients, server_round, config.federation.seed)
        updates = unravel(changed.float(), updates)
    metrics = {
        CLIENT: clients,
        EXAMPLES: update.examples.tolist(),
        LOSS: update.loss.tolist(),
    }
    return update_reply(message, updates, metrics)


@lru_cache(maxsize=8)
def _model(config: Config) -> Model:
    return Model(config)


@lru_cache(maxsize=8)
def _data(config: Config, clients: Sequence[int], projection: Projection) -> ClientData:
    """Return the samples of clients, made once per process."""
    return load_clients(config, clients, projection).to(config.training.device)
