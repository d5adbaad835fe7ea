"""The rounds of a run: train, aggregate, score, write down."""

import time
from typing import Any

import torch
from flwr.serverapp.exception import PrivacyBudgetExhausted

from qmoe_fed.federated.checkpoints import interval, save_checkpoint
from qmoe_fed.federated.federation import Report
from qmoe_fed.federated.run import Run
from qmoe_fed.results.progress import Progress, say
from qmoe_fed.results.summary import spread


def run_rounds(run: Run) -> None:
    """Run the rounds that are left, bringing ``run`` up to date and writing it down after each.

    A privacy budget that the next round would exceed ends the rounds early, and so do errors of
    all hosts before any round counted.
    """
    config, transport = run.transport.model.config, run.transport
    total, first = config.federation.num_server_rounds, run.state.round
    every, progress = interval(run), Progress(total, first)
    _write_down(run, progress, time.monotonic())
    report = Report(False, {})
    for number in range(first + 1, total + 1):
        started = time.monotonic()
        try:
            run.state, report = transport.round(run.state)
        except PrivacyBudgetExhausted as end:
            run.status, run.reason = "stopped", str(end)
            say(f"stopped before round {number}: {end}")
            break
        run.record = {
            "round": number,
            "train": report.metrics,
            "rejections": [vars(rejection) for rejection in report.rejections],
        }
        due = every and (number % every == 0 or number == total)
        if due and run.state.counted:
            save_checkpoint(run)
        _write_down(run, progress, started)
        if report.hopeless and not run.state.counted:
            break  # what fails everywhere will fail again
    if not run.state.counted and run.status == "completed":
        raise RuntimeError(
            f"not one round of training counted, of {run.state.round} tried{_example(report)}; "
            "the log says of all clients why they were left out"
        )


def _example(report: Report) -> str:
    """Return why a client was left out of the last round, as the end of a sentence."""
    if not report.rejections:
        return ""
    first = report.rejections[0]
    return f" (client {first.client}: {first.reason})"


def _write_down(run: Run, progress: Progress, started: float) -> None:
    """Write down the last round, and score all clients and show it if that is due."""
    config, number = run.transport.model.config, run.state.round
    scores: dict[str, dict[str, Any]] = {}
    last = number == config.federation.num_server_rounds
    if due := last or number % config.results.evaluate_every == 0:
        run.table = run.transport.score(run.state)
        scores = {
            "accuracy": describe(run.table.columns["accuracy"]),
            "loss": describe(run.table.columns["loss"], higher_is_better=False),
        }
    run.directory.add_round({**run.record, **scores, "seconds": time.monotonic() - started})
    if due:
        progress.show(number, scores)


def describe(values: torch.Tensor, higher_is_better: bool = True) -> dict[str, Any]:
    """Return the spread of a metric over clients, and its deciles from the least to the most."""
    deciles = torch.linspace(0, 1, 11, dtype=values.dtype)
    return {**spread(values, higher_is_better), "deciles": values.quantile(deciles).tolist()}
