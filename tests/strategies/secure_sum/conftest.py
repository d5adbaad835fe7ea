import pytest
from parties import hosts

from strategies.secure_sum.clients import Memory


@pytest.fixture(scope="session")
def acquainted():
    """Eight hosts of a client each that have met."""
    return hosts()


@pytest.fixture
def parties(acquainted):
    """The same hosts, who have not answered anything yet."""
    for host in acquainted:
        host.memory = Memory()
    return acquainted
