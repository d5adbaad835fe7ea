"""A run that was stopped."""

import pytest
from stopped_runs import SHORT, stop


@pytest.fixture
def stopped(tmp_path):
    """A run stopped in its third round."""
    stop(tmp_path / "run", 3, **SHORT)
    return tmp_path / "run"
