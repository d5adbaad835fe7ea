"""The ClientApp: one SuperNode trains, scores and keeps all the clients it hosts.

Client c lives on the SuperNode whose partition-id is c mod the number of SuperNodes. Its local
parameters stay in ``context.state`` between messages and are never sent; ``query.save`` and
``query.checkpoint`` write them to a file on the host, ``query.restore`` reads them again.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from flwr.app import Context, Message, RecordDict
from flwr.clientapp import ClientApp
from torch import Tensor

from qmoe_fed.config import Config
from qmoe_fed.federated.host import score_clients, train_clients
from qmoe_fed.federated.private_files import restore_private, save_experts, save_private
from qmoe_fed.federated.records import (
    CLIENT,
    EXAMPLES,
    LOSS,
    ROUND,
    arrays_of,
    clients_of,
    metrics_reply,
    settings_of,
    update_reply,
)
from qmoe_fed.federated.supernode import LOCAL, OPTIMIZER, SETUP, SuperNode
from qmoe_fed.federated.unseen import fit_unseen
from qmoe_fed.learning import Scores
from qmoe_fed.learning.replicas import ravel, rows_of, unravel

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
        node = SuperNode(context)
        place = {"partition-id": node.partition, "num-partitions": node.partitions}
        return metrics_reply(message, place)

    @app.train()
    def train(message: Message, context: Context) -> Message:
        return _train(message, SuperNode(context), make_mechanisms)

    @app.evaluate()
    def evaluate(message: Message, context: Context) -> Message:
        clients, scores, load, entropy = _score(message, SuperNode(context))
        metrics = {
            CLIENT: clients,
            "accuracy": scores.accuracy.tolist(),
            "loss": scores.loss.tolist(),
            "routing-entropy": entropy.tolist(),
            **{f"load-{i}": column.tolist() for i, column in enumerate(load.sum(-1).T)},
        }
        return metrics_reply(message, metrics)

    @app.evaluate("routing")
    def routing(message: Message, context: Context) -> Message:
        clients, _, load, _ = _score(message, SuperNode(context))
        cells = load.flatten(1).T.tolist()  # expert by expert, the classes of each side by side
        cells_by_name = {f"cell-{i}": values for i, values in enumerate(cells)}
        return metrics_reply(message, {CLIENT: clients, **cells_by_name})

    @app.evaluate("unseen")
    def unseen(message: Message, context: Context) -> Message:
        node, clients = SuperNode(context), clients_of(message)
        shared = node.tensors(arrays_of(message))
        scores = fit_unseen(node.model, node.data(clients), shared, clients)
        metrics = {
            f"{kind}-{size}": accuracy.tolist()
            for kind, by_size in vars(scores).items()
            for size, accuracy in by_size.items()
        }
        return metrics_reply(message, {CLIENT: clients, **metrics})

    @app.query("save")
    def experts(message: Message, context: Context) -> Message:
        save_experts(SuperNode(context), Path(settings_of(message)["folder"]))
        return Message(RecordDict(), reply_to=message)

    @app.query("checkpoint")
    def checkpoint(message: Message, context: Context) -> Message:
        settings = settings_of(message)
        save_private(SuperNode(context), Path(settings["folder"]), settings[ROUND])
        return Message(RecordDict(), reply_to=message)

    @app.query("restore")
    def restore(message: Message, context: Context) -> Message:
        settings = settings_of(message)
        folder = Path(settings["folder"])
        restore_private(SuperNode(context), folder, settings[ROUND], settings["hosts"])
        return Message(RecordDict(), reply_to=message)

    return app


def _score(message: Message, node: SuperNode) -> tuple[list[int], Scores, Tensor, Tensor]:
    """Return the clients a message names and what ``score_clients`` says of them."""
    clients = clients_of(message)
    local = rows_of(node.local, node.rows(clients))
    shared = node.tensors(arrays_of(message))
    return clients, *score_clients(node.model, node.data(clients), shared, local)


def _train(message: Message, node: SuperNode, make_mechanisms: MakeMechanisms) -> Message:
    """Train the clients a message names, keep what is local, and reply with their updates."""
    config, settings, clients = node.config, settings_of(message), clients_of(message)
    server_round, rows = int(settings[ROUND]), node.rows(clients)
    update = train_clients(
        node.model,
        node.data(clients),
        node.tensors(arrays_of(message)),
        rows_of(node.local, rows),
        clients,
        server_round,
        node.optimizer_state(rows) if config.training.keep_optimizer_state else None,
        proximal_mu=settings.get("proximal-mu"),  # Flower's FedProx
    )
    node.keep(LOCAL, rows, update.local)
    if config.training.keep_optimizer_state:
        node.keep(OPTIMIZER, rows, update.state)

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
