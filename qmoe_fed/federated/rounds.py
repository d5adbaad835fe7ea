"""The rounds of a federation: train, aggregate, score, write down."""

import time
from typing import Any

import torch
from flwr.app import ConfigRecord, MetricRecord
from flwr.serverapp.exception import PrivacyBudgetExhausted
from flwr.serverapp.strategy import Strategy

from qmoe_fed.federated.checkpoints import interval, save_checkpoint
from qmoe_fed.federated.records import layout_of, to_arrays, to_vector
from qmoe_fed.federated.state import Federation, RunState
from qmoe_fed.federated.virtual_grid import VirtualGrid
from qmoe_fed.results.progress import Progress, say
from qmoe_fed.results.summary import spread


def run_rounds(federation: Federation, strategy: Strategy, state: RunState) -> None:
    """Run the rounds that are left, bringing ``state`` up to date and writing it down after each.

    A privacy budget that the next round would exceed ends the rounds early, and so do errors of
    all hosts before any round counted.
    """
    settings = federation.config.federation
    total = settings.num_server_rounds
    grid = federation.grid
    virtual = None
    if not getattr(strategy, "cohort_aware", False):
        grid = virtual = VirtualGrid(grid, federation.hosts, settings.num_clients, settings.seed)
    every = interval(federation, strategy)
    progress = Progress(total, state.rounds)
    _write_down(federation, state, progress)

    for server_round in range(state.rounds + 1, total + 1):
        started = time.monotonic()
        if virtual:
            virtual.round = server_round
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
        state.record = {
            "round": server_round,
            "train": dict(metrics or MetricRecord()),
            "rejections": [vars(r) for r in getattr(strategy, "rejections", ())],
        }
        due = every and (server_round % every == 0 or server_round == total)
        if due and state.counted:
            save_checkpoint(federation, strategy, state)
        _write_down(federation, state, progress, started)
        everyone = len(replies) == len(federation.hosts.nodes)
        if not state.counted and everyone and all(reply.has_error() for reply in replies):
            break  # what fails everywhere will fail again
    if not state.counted and state.status == "completed":
        raise RuntimeError(
            f"not one round of training counted, of {state.rounds} tried{_example(strategy)}; the "
            "log says of all clients why they were left out"
        )


def _example(strategy: Strategy) -> str:
    """Return why a client was left out of the last round, as the end of a sentence."""
    rejections = getattr(strategy, "rejections", ())
    return f" (client {rejections[0].client}: {rejections[0].reason})" if rejections else ""


def _write_down(
    federation: Federation, state: RunState, progress: Progress, started: float | None = None
) -> None:
    """Write down the last round, and score all clients and show it if that is due."""
    started = time.monotonic() if started is None else started
    config, directory, scores = federation.config, federation.directory, {}
    last = state.rounds == config.federation.num_server_rounds
    if due := last or state.rounds % config.results.evaluate_every == 0:
        clients = range(config.federation.num_clients)
        state.table = federation.ask(clients, state.arrays, "evaluate")
        scores = {
            "accuracy": describe(state.table.columns["accuracy"]),
            "loss": describe(state.table.columns["loss"], higher_is_better=False),
        }
    directory.add_round({**state.record, **scores, "seconds": time.monotonic() - started})
    if due:
        progress.show(state.rounds, scores)


def describe(values: torch.Tensor, higher_is_better: bool = True) -> dict[str, Any]:
    """Return the spread of a metric over clients, and its deciles from the least to the most."""
    deciles = torch.linspace(0, 1, 11, dtype=values.dtype)
    return {**spread(values, higher_is_better), "deciles": values.quantile(deciles).tolist()}
