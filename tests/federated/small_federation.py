"""Runs small federations in this process and lets tests read what travelled."""

import json
from pathlib import Path
from typing import Any

from safetensors.numpy import load_file

from qmoe_fed.federated.flower import client_app
from qmoe_fed.federated.flower.grid import LocalGrid, task_identity
from qmoe_fed.federated.flower.server import run_federation

SMALL = {
    "engine": "local",
    "expert-fit": "gradient",
    "num-clients": 6,
    "num-unseen-clients": 3,
    "num-server-rounds": 3,
    "train-samples": 20,
    "test-samples": 10,
    "batch-size": 8,
    "local-epochs": 2,
    "unseen-samples": "4,8",
    "unseen-epochs": 5,
    "figures": False,
}


class SpyGrid(LocalGrid):
    """Keeps every message and reply."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.sent, self.received = [], []

    def deliver(self, messages, timeout):
        replies = super().deliver(messages, timeout)
        self.sent += messages
        self.received += replies
        return replies


def federate(folder: Path, supernodes: int = 1, grid_type=SpyGrid, **changes: Any):
    """Run a federation; settings as keywords with underscores. Returns (grid, results folder)."""
    changes = {key.replace("_", "-"): value for key, value in changes.items()}
    settings = {**SMALL, "output-dir": str(folder), **changes}
    with task_identity():
        grid = grid_type(client_app(), settings, supernodes)
        run_federation(grid, settings)
    return grid, folder


def outcome(folder: Path) -> dict[str, Any]:
    """Return what a run left: shared parameters, experts by client, summary, rounds."""
    experts: dict[int, dict[str, Any]] = {}
    for file in folder.glob("experts/*.safetensors"):
        tensors = load_file(file)
        for row, client in enumerate(tensors.pop("clients")):
            experts[int(client)] = {name: values[row] for name, values in tensors.items()}
    return {
        "shared": load_file(folder / "shared.safetensors"),
        "experts": experts,
        "summary": json.loads((folder / "summary.json").read_text()),
        "rounds": [
            json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()
        ],
    }
