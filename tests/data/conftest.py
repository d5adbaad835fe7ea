import sys

import pytest
from own_samples import write_samples


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A current folder with a user's own samples in it, in all forms."""
    monkeypatch.chdir(tmp_path)
    write_samples(tmp_path)
    yield tmp_path
    sys.modules.pop("own_data_of_a_test", None)
