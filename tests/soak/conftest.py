"""A small run that came to its end, and one that was stopped."""

from pathlib import Path
from unittest.mock import patch

import pytest
from tiny_runs import Power, run_tiny

from qmoe_fed.federated.flower.grid import LocalGrid


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("soak") / "finished"
    assert run_tiny(folder) == "done"
    return folder


@pytest.fixture(scope="session")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was stopped in its third round."""
    folder, deliver = tmp_path_factory.mktemp("soak") / "stopped", LocalGrid.deliver

    def dying(grid, messages, timeout):
        if messages[0].content.get("config", {}).get("server-round") == 3:
            raise Power
        return deliver(grid, messages, timeout)

    with patch.object(LocalGrid, "deliver", dying), pytest.raises(Power):
        run_tiny(folder)
    return folder
