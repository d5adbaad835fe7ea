"""The rounds of a federation: train, aggregate, score, write down."""

import time
from dataclasses import dataclass, field
from typing import Any

import torch
from flwr.app import ArrayRecord, ConfigRecord, MetricRecord
from flwr.serverapp import Grid
from flwr.serverapp.exception import PrivacyBudgetExhausted
from flwr.serverapp.strategy import Strategy

from qmoe_fed.config import Config
from qmoe_fed.federated.collect import ClientTable, ask_clients
from qmoe_fed.federated.host import Model
from qmoe_fed.federated.hosts import Hosts
from qmoe_fed.federated.records import layout_of, to_arrays, to_vector
from qmoe_fed.federated.virtual_grid import VirtualGrid
from qmoe_fed.results.progress import Progress, say
from qmoe_fed.results.run_directory import RunDirectory
from qmoe_fed.results.summary import spread


@dataclass(frozen=True)
class Federation:
    """A run under way: who takes part, what they train, and where it is written down."""

    grid: Grid
    config: Config
    model: Model
    hosts: Hosts
    directory: RunDirectory

    def ask(self, clients: range, arrays: ArrayRecord, message_type: str) -> ClientTable:
        """Collect metrics of clients, given the shared parameters."""
        timeout = self.config.federation.round_timeout
        return ask_clients(self.grid, self.hosts, clients, arrays, message_type, timeout)


@dataclass
class RunState:
    """How far the rounds have come.

    Attributes:
        arrays: Shared parameters now.
        rounds: Rounds run.
        counted: Rounds whose updates were aggregated.
        status: ``completed``, or ``stopped`` when a privacy budget ended the run early.
        reason: Why it was stopped.
        table: Scores of all clients after the last scored round.
        metrics: What the strategy reported of the last round.
    """

    arrays: ArrayRecord
    rounds: int = 0
    counted: int = 0
    status: str = "completed"
    reason: str = ""
    table: ClientTable = field(default_factory=ClientTable)
    metrics: dict[str, Any] = field(default_factory=dict)


def run_rounds(federation: Federation, strategy: Strategy, state: RunState) -> None:
    """Run all rounds, bringing ``state`` up to date and writing it down after each.

    A privacy budget that the next round would exceed ends the rounds early.
    """
    settings = federation.config.federation
    total = settings.num_server_rounds
    grid = federation.grid
    if not getattr(strategy, "cohort_aware", False):
        grid = VirtualGrid(grid, federation.hosts, settings.num_clients, settings.seed)
    progress = Progress(total)
    _score(federation, state, {"round": 0}, progress)

    for server_round in range(1, total + 1):
        started = time.monotonic()
        try:
            messages = strategy.configure_train(server_round, state.arrays, ConfigRecord(), grid)
        except PrivacyBudgetExhausted as end:
            state.status, state.reason = "stopped", str(end)
            say(f"stopped before round {server_round}: {end}")
            break
        replies = list(grid.send_and_receive(messages, timeout=settings.round_timeout))
        arrays, metrics = strategy.aggregate_train(server_round, replies)
        if arrays is not None:
            # Flower's FedAvgM turns parameters into float64
            state.arrays = to_arrays(to_vector(arrays), layout_of(arrays))
            state.counted += 1
        state.rounds = server_round
        state.metrics = dict(metrics or MetricRecord())
        rejections = [vars(r) for r in getattr(strategy, "rejections", ())]
        record = {"round": server_round, "train": state.metrics, "rejections": rejections}
        if server_round % federation.config.results.evaluate_every == 0 or server_round == total:
            _score(federation, state, record, progress, started)
        else:
            federation.directory.add_round({**record, "seconds": time.monotonic() - started})
    if not state.counted and state.status == "completed":
        raise RuntimeError(
            f"not one of {state.rounds} rounds of training counted{_example(strategy)}; the log "
            "says of all clients why they were left out"
        )


def _example(strategy: Strategy) -> str:
    """Return why a client was left out of the last round, as the end of a sentence."""
    rejections = getattr(strategy, "rejections", ())
    return f" (client {rejections[0].client}: {rejections[0].reason})" if rejections else ""


def _score(
    federation: Federation,
    state: RunState,
    record: dict[str, Any],
    progress: Progress,
    started: float | None = None,
) -> None:
    """Score all clients, and write down and show the round."""
    started = time.monotonic() if started is None else started
    clients = range(federation.config.federation.num_clients)
    state.table = federation.ask(clients, state.arrays, "evaluate")
    scores = {
        "accuracy": describe(state.table.columns["accuracy"]),
        "loss": describe(state.table.columns["loss"], higher_is_better=False),
    }
    seconds = time.monotonic() - started
    federation.directory.add_round({**record, **scores, "seconds": seconds})
    shared = {name: array.numpy() for name, array in state.arrays.items()}
    federation.directory.write_arrays("shared.safetensors", shared)
    progress.show(record["round"], scores)


def describe(values: torch.Tensor, higher_is_better: bool = True) -> dict[str, Any]:
    """Return the spread of a metric over clients, and its deciles from the least to the most."""
    deciles = torch.linspace(0, 1, 11, dtype=values.dtype)
    return {**spread(values, higher_is_better), "deciles": values.quantile(deciles).tolist()}
