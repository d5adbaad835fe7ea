"""After the last round: unseen clients, what the experts do, and what is written down."""

import time
from typing import Any

import torch

from qmoe_fed.config import Config
from qmoe_fed.data import shape_of
from qmoe_fed.errors import UserError
from qmoe_fed.federated.flower.run import Run, told_of
from qmoe_fed.federated.updates import ClientTable
from qmoe_fed.learning.routing import imbalance, mutual_information
from qmoe_fed.results.progress import say
from qmoe_fed.results.summary import headline_size, print_summary, spread

KINDS = ("shared", "scratch", "random")


def finish(run: Run) -> None:
    """Test unseen clients, save the experts, write and print the summary, draw the pictures.

    The summary names the hosts that could not save their clients' experts.
    """
    config, transport = run.config, run.transport
    run.write_shared()
    unseen, table = dict[str, Any](), ClientTable()
    if config.federation.num_unseen_clients:
        table, sizes = transport.unseen(run.state), config.unseen.sample_sizes
        _write_table(run, "unseen.json", table)
        unseen = (
            {}
            if not table.columns
            else {
                kind: {str(m): spread(table.columns[f"{kind}-{m}"]) for m in sizes}
                for kind in KINDS
            }
        )
    # label distributions of the clients are in it: a private run does not ask
    cells = None if config.privacy.mechanisms else transport.routing(run.state)
    routing = routing_summary(config, run.table, cells)
    where = run.place(run.path / "experts")
    if missing := transport.tell("query.save", where, run.state.shared):
        say(f"experts that are not saved: {told_of(missing)}")
    if not transport.hidden:  # else each host has written its own
        _write_table(run, "clients.json", run.table)
    summary = _summary(run, unseen, routing)
    summary |= {"unseen_clients_scored": len(table.clients), "hosts_missing": sorted(missing)}
    run.directory.write_json("summary.json", summary)
    if not run.show:
        print_summary(summary)
    if config.results.figures:
        from qmoe_fed.results.report import leave  # matplotlib only where it is used

        leave(run.path)
    if not run.show:
        say(f"results: {run.path}")


def show_failure(run: Run) -> None:
    """Leave the page of a run that failed; what it failed of comes first, should that fail too."""
    if run.config.results.figures:
        from qmoe_fed.results.report import leave

        try:
            leave(run.path)
        except UserError as error:
            say(f"no report.html: {error}")


def routing_summary(
    config: Config, scores: ClientTable, cells: ClientTable | None
) -> dict[str, float | None]:
    """Return how the router spreads the work, over all clients.

    Args:
        config: The run.
        scores: As ``Federation.score`` returned it.
        cells: As ``Federation.routing`` returned it. What an expert tells about the class takes
            the clients' label distributions to compute; without them ``class_information`` is
            None.
    """
    experts, classes = config.model.num_experts, shape_of(config).classes
    load = torch.stack([scores.columns[f"load-{i}"] for i in range(experts)], -1)
    class_information = None
    if cells is not None and cells.columns:
        joint = torch.stack([cells.columns[f"cell-{i}"].mean() for i in range(experts * classes)])
        class_information = mutual_information(joint.view(experts, classes))
    described = vars(imbalance(load.view(-1, experts), scores.columns["routing-entropy"]))
    if load.dim() == 1:  # means only
        described["client_information"] = None
    return {**described, "class_information": class_information}


def _write_table(run: Run, name: str, table: ClientTable) -> None:
    columns = {"client": table.clients, **table.columns}
    run.directory.write_columns(name, {key: v.tolist() for key, v in columns.items()})


def _summary(run: Run, unseen: dict[str, Any], routing: dict[str, float | None]) -> dict[str, Any]:
    model, config = run.transport.model, run.config
    accuracy = spread(run.table.columns["accuracy"])
    headline = str(headline_size(config.unseen.sample_sizes))
    epsilon = run.record.get("train", {}).get("epsilon")
    # a client's update has the form of what it is sent
    bytes_up = sum(v.nbytes for v in run.state.shared.values())
    if run.transport.hidden:
        bytes_up = run.transport.hidden.bytes_up()
    return {
        "status": run.status,
        "reason": run.reason,
        "rounds": run.state.round,
        "rounds_counted": run.state.counted,
        "clients": config.federation.num_clients,
        "clients_scored": len(run.table.clients),
        "unseen_clients": config.federation.num_unseen_clients,
        "supernodes": len(run.transport.hosts.nodes),
        "share": config.federation.share,
        "seed": config.federation.seed,
        "router_parameters": sum(p.numel() for p in model.module.router.parameters()),
        "bytes_up_per_client_round": bytes_up,
        **{f"accuracy_{name}": value for name, value in accuracy.items()},
        "unseen_samples": int(headline) if unseen else None,
        **{
            f"unseen_accuracy_{kind}": unseen[kind][headline]["mean"] if unseen else None
            for kind in KINDS
        },
        "unseen": unseen,
        **{f"routing_{name}": value for name, value in routing.items()},
        "epsilon": epsilon,
        "delta": None if epsilon is None else config.privacy.delta,
        "noise_source": None if epsilon is None else config.privacy.noise_source,
        "wall_seconds": time.monotonic() - run.started,
    }
