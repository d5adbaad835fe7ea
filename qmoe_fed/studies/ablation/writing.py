"""What the ablation writes down."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from qmoe_fed.studies.ablation import summary, tables
from qmoe_fed.studies.ablation.answer import QUESTION, leads
from qmoe_fed.studies.ablation.answer import table as leads_table
from qmoe_fed.studies.ablation.lines import Line, narrow_table
from qmoe_fed.studies.ablation.lines import table as comparison_table
from qmoe_fed.studies.ablation.plan import Results
from qmoe_fed.studies.ablation.settings import EXPERTS, Settings
from qmoe_fed.studies.datasets import MOONS_SAMPLES
from qmoe_fed.studies.report import Table
from qmoe_fed.studies.trials import CHOSEN


def choose_tables(results: Results, lines: Sequence[Line]) -> tuple[list[Table], list[Table]]:
    """Return the tables that are printed and those that are written down."""
    models = results.models
    first = [
        *(tables.overview(models, number) for number in EXPERTS),
        *(tables.details(models, number, CHOSEN) for number in EXPERTS),
    ]
    second = [
        *(tables.efficiency_table(own) for own in results.sweeps.values()),
        tables.gradient_table(results.gradients),
        tables.starts_table(results.starts),
        leads_table(leads(results)),
    ]
    further = [
        tables.details(models, number, setting)
        for setting in tables.SETTINGS
        if setting != CHOSEN
        for number in EXPERTS
    ]
    printed = [*first, narrow_table(lines), *second]
    return printed, [*first, *further, comparison_table(lines), *second]


def markdown(
    settings: Settings, parts: Sequence[Table], paragraphs: Sequence[str], left_out: Sequence[str]
) -> str:
    """Return ``report.md``: the protocol, the tables and the answer."""
    fit, validation, test = MOONS_SAMPLES
    scope, protocol = settings.scope, settings.protocol
    text = (
        f"{scope.seeds} seeds, each with its own samples and initial parameters. Two Moons: "
        f"{fit} samples to train on, {validation} to validate, {test} to test, noise "
        f"{scope.noise:g}. Adam, batch {protocol.batch_size}, at most {protocol.max_epochs} "
        "epochs, stopped when the validation loss has not improved for "
        f"{protocol.patience}; the parameters with the lowest validation loss are kept and tested "
        "once."
    )
    sections = [
        "# Ablation on one client",
        text,
        *(f"Left out: {reason}" for reason in left_out),
        *(part.markdown() for part in parts),
        f"### {QUESTION}",
        *paragraphs,
    ]
    return "\n\n".join(sections) + "\n"


def numbers(results: Results) -> dict[str, Any]:
    """Return all that was measured, as it stands in ``results.json``."""
    swept = [outcome for outcomes in results.sweeps.values() for outcome in outcomes]
    return {
        "models": summary.models(results.models),
        "records": summary.records(results.models),
        "efficiency": {
            "models": [summary.describe(outcome, CHOSEN) for outcome in swept],
            "records": summary.records(swept),
        },
        "gradients": [asdict(variance) for variance in results.gradients],
        "starts": [
            {
                **asdict(started.start),
                "learning_rate": started.learning_rate,
                "accuracy": started.accuracy.tolist(),
                "epochs_to_90": started.epochs_to_target.tolist(),
            }
            for started in results.starts
        ],
    }


def curves(results: Results) -> bytes:
    """Return ``curves.json``: values by epoch, until each seed stopped, by model and setting."""
    content = {
        outcome.trial.model.name: {
            setting: {
                name: [np.round(row[~np.isnan(row)], 5).tolist() for row in getattr(own, name)]
                for name in ("train_loss", "validation_loss", "validation_accuracy")
            }
            for setting, own in outcome.columns.items()
        }
        for outcome in results.models
    }
    return json.dumps(content).encode()
