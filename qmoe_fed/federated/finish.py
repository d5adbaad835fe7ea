"""After the last round: unseen clients, what the experts do, and what is written down."""

import time
from typing import Any

import torch
from flwr.app import ArrayRecord

from qmoe_fed.data import shape_of
from qmoe_fed.errors import UserError
from qmoe_fed.federated.collect import ClientTable
from qmoe_fed.federated.state import Federation, RunState
from qmoe_fed.learning.routing import imbalance, mutual_information
from qmoe_fed.results.progress import say
from qmoe_fed.results.summary import headline_size, print_summary, spread


def finish(federation: Federation, state: RunState) -> None:
    """Test unseen clients, save the experts, write and print the summary, draw the pictures.

    Args:
        federation: The run.
        state: Where its rounds ended.
    """
    directory = federation.directory
    state.write_shared(directory)
    unseen = _score_unseen(federation, state.arrays)
    routing = _describe_routing(federation, state)
    _save_experts(federation)
    _write_table(federation, "clients.json", state.table)
    summary = _summary(federation, state, unseen, routing)
    summary["wall_seconds"] = time.monotonic() - state.started
    directory.write_json("summary.json", summary)
    print_summary(summary)
    if federation.config.results.figures:
        from qmoe_fed.results.figures import draw_all  # matplotlib only where it is used

        draw_all(directory.path)
    say(f"results: {directory.path}")


def _score_unseen(federation: Federation, arrays: ArrayRecord) -> dict[str, Any]:
    """Return the accuracy of unseen clients: kind → number of labelled samples → spread."""
    config = federation.config
    first = config.federation.num_clients
    clients = range(first, first + config.federation.num_unseen_clients)
    if not clients:
        return {}
    table = federation.ask(clients, arrays, "evaluate.unseen")
    _write_table(federation, "unseen.json", table)
    return {
        kind: {str(m): spread(table.columns[f"{kind}-{m}"]) for m in config.unseen.sample_sizes}
        for kind in ("shared", "scratch", "random")
    }


def _write_table(federation: Federation, name: str, table: ClientTable) -> None:
    columns = {"client": table.clients, **table.columns}
    federation.directory.write_columns(name, {key: v.tolist() for key, v in columns.items()})


def _save_experts(federation: Federation) -> None:
    """Have every host write the local parameters it holds; they are not sent."""
    folder = str(federation.directory.path / "experts")
    if fault := federation.tell("query.save", {"folder": folder}):
        raise UserError(f"a host could not save its experts: {fault}")


def _describe_routing(federation: Federation, state: RunState) -> dict[str, float | None]:
    """Return how the router spreads the work, over all clients.

    What an expert tells about the class takes the clients' label distributions to compute: a run
    with privacy mechanisms does not ask for them.
    """
    config, columns = federation.config, state.table.columns
    experts, classes = config.model.num_experts, shape_of(config).classes
    load = torch.stack([columns[f"load-{i}"] for i in range(experts)], 1)
    class_information = None
    if not config.privacy.mechanisms:
        clients = range(config.federation.num_clients)
        cells = federation.ask(clients, state.arrays, "evaluate.routing").columns
        joint = torch.stack([cells[f"cell-{i}"].mean() for i in range(experts * classes)])
        class_information = mutual_information(joint.view(experts, classes))
    described = vars(imbalance(load, columns["routing-entropy"]))
    return {**described, "class_information": class_information}


def _summary(
    federation: Federation,
    state: RunState,
    unseen: dict[str, Any],
    routing: dict[str, float | None],
) -> dict[str, Any]:
    config = federation.config
    router = federation.model.module.router
    accuracy = spread(state.table.columns["accuracy"])
    headline = str(headline_size(config.unseen.sample_sizes))
    return {
        "status": state.status,
        "reason": state.reason,
        "rounds": state.rounds,
        "rounds_counted": state.counted,
        "clients": config.federation.num_clients,
        "unseen_clients": config.federation.num_unseen_clients,
        "supernodes": len(federation.hosts.nodes),
        "share": config.federation.share,
        "seed": config.federation.seed,
        "router_parameters": sum(p.numel() for p in router.parameters()),
        # a client's update has the form of what it is sent
        "bytes_up_per_client_round": sum(a.numpy().nbytes for a in state.arrays.values()),
        "accuracy_mean": accuracy["mean"],
        "accuracy_std": accuracy["std"],
        "accuracy_worst10": accuracy["worst10"],
        "unseen_samples": int(headline) if unseen else None,
        **{
            f"unseen_accuracy_{kind}": unseen[kind][headline]["mean"] if unseen else None
            for kind in ("shared", "scratch", "random")
        },
        "unseen": unseen,
        **{f"routing_{name}": value for name, value in routing.items()},
        "epsilon": state.record.get("train", {}).get("epsilon"),
        "delta": config.privacy.delta if "epsilon" in state.record.get("train", {}) else None,
    }
