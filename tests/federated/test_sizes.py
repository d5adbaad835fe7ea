"""What does not fit into memory is refused with the number, before it is tried."""

from types import SimpleNamespace

import psutil
import pytest
from small_federation import SMALL, federate

from qmoe_fed.config import Config
from qmoe_fed.errors import UserError
from qmoe_fed.federated import Federation
from qmoe_fed.federated.sizes import check_host, check_server

BILLION = 10**9


@pytest.fixture(autouse=True)
def eight_gigabytes(monkeypatch):
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(total=8 * 2**30))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num-clients": BILLION}, "num-clients = 1000000000: takes at least 67 GiB .* has 8 GiB"),
        ({"num-unseen-clients": BILLION}, "num-unseen-clients = 1000000000, .* takes at least 447"),
        ({"train-samples": BILLION}, "train-samples = 1000000000, .* at least 45 GiB"),
        ({"test-samples": BILLION}, "test-samples = 1000000000: takes at least 45 GiB"),
        ({"layers": BILLION}, "layers = 1000000000: takes at least 745 GiB"),
        ({"router": "mlp", "hidden-width": 10**10}, "hidden-width = 10000000000: .* 37 GiB"),
        ({"router": "linear", "num-experts": BILLION}, "num-experts = 1000000000, .* 30 GiB"),
        ({"local-epochs": BILLION}, "local-epochs = 1000000000: takes at least 894 GiB"),
        ({"unseen-epochs": BILLION}, "unseen-epochs = 1000000000: takes at least 60 GiB"),
        ({"qubits": 20, "num-clients": 200}, "qubits = 20, batch-size = 8, .* at least 12 GiB"),
        (
            {"expert": "quantum", "expert-options": "qubits = 20", "num-clients": 60},
            "qubits = 20, batch-size = 8, .* at least 15 GiB",
        ),
    ],
)
def test_what_does_not_fit_is_refused(settings, message):
    with pytest.raises(UserError, match=message):
        Federation(Config.from_flat({**SMALL, **settings}))


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"num-clients": 10**6},
        {"num-clients": 1000, "qubits": 8},
        {"qubits": 20, "num-clients": 200, "execution": "serial"},
        {"dataset": "mnist", "num-clients": 10**5, "qubits": 10, "expert-features": "all"},
    ],
)
def test_what_fits_is_not(settings):
    config = Config.from_flat(settings)
    check_server(config)
    check_host(config, config.federation.num_clients)


def test_hosts_share_what_one_cannot_hold(tmp_path):
    big = {"qubits": 20, "num_clients": 200, "supernode_timeout": 60.0}
    with pytest.raises(UserError, match=r"could not join: UserError: qubits = 20.*which 100"):
        federate(tmp_path / "run", 2, batch_size=20, **big)
